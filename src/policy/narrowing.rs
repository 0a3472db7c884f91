//! A policy of the caller's own, by which a session is narrowed further.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::document::{Effect, Statement, Version};

/// What a session is narrowed to: a policy as AssumeRole takes it, of which only what the ceiling allows is left.
///
/// - It has statements with `Action` and `Resource` only, as AWS writes them: one or a list. Conditions are kept.
/// - A resource it allows has `*` at its end or not at all, so that what it has in common with a prefix is certain.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Narrowing {
    #[serde(rename = "Version")]
    _version: Version,
    #[serde(default, rename = "Id")]
    _id: Option<String>,
    statement: OneOrMany<Clause>,
}

/// Why a text is no [`Narrowing`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NarrowingError {
    #[error("the policy cannot be read: {0}")]
    Unreadable(String),
    #[error("the policy allows the resource `{0}`: a `*` can be at the end only, and `?` and `$` nowhere")]
    Pattern(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Clause {
    #[serde(default, rename = "Sid")]
    _sid: Option<String>,
    effect: Effect,
    action: OneOrMany<String>,
    resource: OneOrMany<String>,
    #[serde(default)]
    condition: BTreeMap<String, BTreeMap<String, OneOrMany<String>>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl Narrowing {
    pub fn parse(json: &str) -> Result<Self, NarrowingError> {
        let policy: Self = serde_json::from_str(json).map_err(|error| NarrowingError::Unreadable(error.to_string()))?;
        let allowed = policy.statement.iter().filter(|clause| clause.effect == Effect::Allow);
        let is_prefix = |pattern: &String| !pattern.strip_suffix('*').unwrap_or(pattern).contains(['*', '?', '$']);
        match allowed.flat_map(|clause| clause.resource.iter()).find(|pattern| !is_prefix(pattern)) {
            Some(pattern) => Err(NarrowingError::Pattern(pattern.clone())),
            None => Ok(policy),
        }
    }

    /// What both this and the ceiling allow, and what this denies.
    pub(super) fn within(&self, ceiling: &[Statement]) -> Vec<Statement> {
        let clauses = self.statement.iter().flat_map(|clause| match clause.effect {
            Effect::Deny => vec![clause.as_denial()],
            Effect::Allow => ceiling.iter().filter_map(|statement| clause.in_common_with(statement)).collect(),
        });
        let mut statements: Vec<Statement> = clauses.collect();
        if statements.is_empty() {
            statements.push(nothing());
        }
        statements
    }
}

impl Clause {
    fn as_denial(&self) -> Statement {
        Statement {
            effect: Effect::Deny,
            action: self.action.iter().cloned().collect(),
            resource: self.resource.iter().cloned().collect(),
            condition: self.conditions(),
        }
    }

    fn in_common_with(&self, statement: &Statement) -> Option<Statement> {
        let matched = |action: &&String| self.action.iter().any(|pattern| glob(pattern, action));
        let action: Vec<String> = statement.action.iter().filter(matched).cloned().collect();
        let pairs = statement.resource.iter().flat_map(|ours| self.resource.iter().map(move |theirs| (ours, theirs)));
        let mut resource: Vec<String> = pairs.filter_map(|(ours, theirs)| in_common(ours, theirs)).collect();
        resource.sort();
        resource.dedup();
        let mut condition = self.conditions();
        for (operator, keys) in &statement.condition {
            for (key, values) in keys {
                let theirs = condition.entry(operator.clone()).or_default();
                // Both must hold. For one operator and key, that is what their patterns have in common.
                let both = match theirs.get(key) {
                    None => values.clone(),
                    Some(theirs) => {
                        let pairs = values.iter().flat_map(|ours| theirs.iter().map(move |theirs| (ours, theirs)));
                        pairs.filter_map(|(ours, theirs)| in_common(ours, theirs)).collect()
                    }
                };
                theirs.insert(key.clone(), both);
            }
        }
        let is_void = condition.values().flat_map(BTreeMap::values).any(Vec::is_empty);
        let allows = !action.is_empty() && !resource.is_empty() && !is_void;
        allows.then_some(Statement { effect: Effect::Allow, action, resource, condition })
    }

    fn conditions(&self) -> BTreeMap<String, BTreeMap<String, Vec<String>>> {
        let lists = |keys: &BTreeMap<String, OneOrMany<String>>| {
            keys.iter().map(|(key, values)| (key.clone(), values.iter().cloned().collect())).collect()
        };
        self.condition.iter().map(|(operator, keys)| (operator.clone(), lists(keys))).collect()
    }
}

impl<T> OneOrMany<T> {
    fn iter(&self) -> std::slice::Iter<'_, T> {
        match self {
            Self::One(one) => std::slice::from_ref(one).iter(),
            Self::Many(many) => many.iter(),
        }
    }
}

/// What two patterns have in common, of which each has a `*` at its end or none.
fn in_common(a: &str, b: &str) -> Option<String> {
    let (short, long) = if a.trim_end_matches('*').len() <= b.trim_end_matches('*').len() { (a, b) } else { (b, a) };
    match short.strip_suffix('*') {
        Some(prefix) => long.starts_with(prefix).then(|| long.to_owned()),
        None => (short == long.strip_suffix('*').unwrap_or(long)).then(|| short.to_owned()),
    }
}

/// Whether an action fits a pattern, in which `*` stands for anything. Actions know no upper and lower case.
fn glob(pattern: &str, action: &str) -> bool {
    let (pattern, action) = (pattern.to_ascii_lowercase(), action.to_ascii_lowercase());
    let mut parts = pattern.split('*');
    let Some(mut rest) = action.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

fn nothing() -> Statement {
    Statement {
        effect: Effect::Deny,
        action: vec!["s3:*".into()],
        resource: vec!["arn:aws:s3:::*".into()],
        condition: BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_patterns_have_in_common() {
        for (a, b, both) in [
            ("x/*", "x/y/*", Some("x/y/*")),
            ("x/*", "*", Some("x/*")),
            ("x/*", "x/y", Some("x/y")),
            ("x/*", "x/", Some("x/")),
            ("x/*", "x", None),
            ("x/*", "xy/*", None),
            ("x", "x", Some("x")),
            ("x", "x*", Some("x")),
            ("x", "y*", None),
            ("x", "xy", None),
            ("*", "*", Some("*")),
        ] {
            assert_eq!(in_common(a, b).as_deref(), both, "{a} {b}");
            assert_eq!(in_common(b, a).as_deref(), both, "{b} {a}");
        }
    }

    #[test]
    fn which_actions_fit() {
        for (pattern, action, fits) in [
            ("*", "s3:GetObject", true),
            ("s3:*", "s3:GetObject", true),
            ("s3:get*", "s3:GetObject", true),
            ("s3:*Object", "s3:GetObject", true),
            ("s3:*Object", "s3:GetObjectTagging", false),
            ("s3:G*t*t", "s3:GetObject", true),
            ("s3:GetObject", "s3:GetObject", true),
            ("s3:Get", "s3:GetObject", false),
            ("s3:*t", "s3:", false),
            ("admin:*", "s3:GetObject", false),
            ("", "s3:GetObject", false),
        ] {
            assert_eq!(glob(pattern, action), fits, "{pattern} {action}");
        }
    }

    #[test]
    fn a_policy_that_cannot_be_narrowed_by_is_refused() {
        let with = |rest: &str| format!(r#"{{"Version":"2012-10-17","Statement":{{"Effect":"Allow",{rest}}}}}"#);
        assert!(Narrowing::parse(&with(r#""Sid":"x","Action":"s3:*","Resource":["a*","b"]"#)).is_ok());
        for rest in [
            r#""Action":"s3:*","Resource":"a*b""#,
            r#""Action":"s3:*","Resource":"a?""#,
            r#""Action":"s3:*","Resource":"${aws:username}/*""#,
            r#""NotAction":"s3:*","Resource":"*""#,
            r#""Action":"s3:*","NotResource":"x""#,
            r#""Action":"s3:*""#,
            r#""Action":"s3:*","Resource":"*","Principal":"*""#,
        ] {
            assert!(Narrowing::parse(&with(rest)).is_err(), "{rest}");
        }
        for text in ["", "{}", "[]", r#"{"Version":"2008-10-17","Statement":[]}"#] {
            assert!(Narrowing::parse(text).is_err(), "{text}");
        }
    }
}
