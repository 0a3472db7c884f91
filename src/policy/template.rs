//! The templates of `policies/`.

use std::{collections::BTreeMap, path::Path};

use jiff::Timestamp;

use super::document::{PolicyDocument, Statement, Version};

/// The templates that all policies are made of.
///
/// - Each is a policy document with `{bucket}` where the bucket goes. A list element with `{prefix}` stands for one such
///   element a path; a statement that is about paths is left out where there are none.
/// - The session's has `{prefix}` for every path, `{readable}` for those that are read only and `{writable}` for the rest.
#[derive(Debug, Clone)]
pub struct Templates {
    pub(super) home: Template,
    pub(super) workspace: Template,
    pub(super) read: Template,
    pub(super) write: Template,
    pub(super) session: Template,
}

#[derive(Debug, Clone)]
pub(super) struct Template(PolicyDocument);

/// A template cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the policy template {file}: {reason}")]
pub struct TemplateError {
    pub file: String,
    pub reason: String,
}

/// Placeholders, and the prefixes that take their place.
pub(super) type Prefixes<'a> = [(&'static str, Vec<&'a str>)];

impl Templates {
    /// The ones that are compiled in.
    pub fn built_in() -> Self {
        Self::read(|name| {
            Ok(match name {
                "home" => include_str!("../../policies/home.json"),
                "workspace" => include_str!("../../policies/workspace.json"),
                "read" => include_str!("../../policies/read.json"),
                "write" => include_str!("../../policies/write.json"),
                _ => include_str!("../../policies/session.json"),
            }
            .to_owned())
        })
        .expect("the templates in policies/ are tested")
    }

    /// An operator's, from a folder with the same five files.
    pub fn from_folder(folder: &Path) -> Result<Self, TemplateError> {
        Self::read(|name| {
            std::fs::read_to_string(folder.join(format!("{name}.json"))).map_err(|error| error.to_string())
        })
    }

    fn read(text: impl Fn(&str) -> Result<String, String>) -> Result<Self, TemplateError> {
        let template = |name: &str, placeholders: &[&str]| {
            text(name)
                .and_then(|text| Template::parse(&text, placeholders))
                .map_err(|reason| TemplateError { file: format!("{name}.json"), reason })
        };
        Ok(Self {
            home: template("home", &["{prefix}"])?,
            workspace: template("workspace", &["{prefix}"])?,
            read: template("read", &["{prefix}"])?,
            write: template("write", &["{prefix}"])?,
            session: template("session", &["{prefix}", "{readable}", "{writable}"])?,
        })
    }
}

impl Template {
    fn parse(text: &str, placeholders: &[&str]) -> Result<Self, String> {
        let document: PolicyDocument = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if document.statement.is_empty() {
            return Err("it has no statement".into());
        }
        for text in document.statement.iter().flat_map(strings) {
            let mut rest = text.replace("{bucket}", "");
            for placeholder in placeholders {
                rest = rest.replacen(placeholder, "", 1);
            }
            if rest.contains(['{', '}']) {
                return Err(format!("`{text}` holds something else than {{bucket}} and one of {placeholders:?}"));
            }
        }
        for placeholder in placeholders {
            if !document.statement.iter().flat_map(strings).any(|text| text.contains(placeholder)) {
                return Err(format!("`{placeholder}` does not occur: it would give nothing"));
            }
        }
        Ok(Self(document))
    }

    /// The statements for these prefixes, which end at `until` if it is given.
    pub fn fill(&self, bucket: &str, prefixes: &Prefixes, until: Option<Timestamp>) -> Vec<Statement> {
        let mut statements: Vec<Statement> =
            self.0.statement.iter().filter_map(|statement| fill(statement, bucket, prefixes)).collect();
        if let Some(until) = until {
            // Rounded down: a share never lasts longer than it was given for.
            let end = Timestamp::from_second(until.as_second()).unwrap_or(until).to_string();
            for statement in &mut statements {
                let times = BTreeMap::from([("aws:CurrentTime".to_owned(), vec![end.clone()])]);
                statement.condition.insert("DateLessThan".to_owned(), times);
            }
        }
        statements
    }
}

/// Statements, each of them once, as a document.
pub(super) fn document(statements: impl IntoIterator<Item = Statement>) -> PolicyDocument {
    let mut once: Vec<Statement> = Vec::new();
    for statement in statements {
        if !once.contains(&statement) {
            once.push(statement);
        }
    }
    PolicyDocument { version: Version::V2012, statement: once }
}

fn fill(statement: &Statement, bucket: &str, prefixes: &Prefixes) -> Option<Statement> {
    let list = |texts: &Vec<String>| {
        let filled: Vec<String> = texts.iter().flat_map(|text| fill_text(text, bucket, prefixes)).collect();
        (!filled.is_empty() || texts.is_empty()).then_some(filled)
    };
    let condition = statement.condition.iter().map(|(operator, keys)| {
        let keys = keys.iter().map(|(key, values)| Some((key.clone(), list(values)?)));
        Some((operator.clone(), keys.collect::<Option<_>>()?))
    });
    Some(Statement {
        effect: statement.effect,
        action: statement.action.clone(),
        resource: list(&statement.resource)?,
        condition: condition.collect::<Option<_>>()?,
    })
}

fn fill_text(text: &str, bucket: &str, prefixes: &Prefixes) -> Vec<String> {
    let text = text.replace("{bucket}", bucket);
    match prefixes.iter().find(|(placeholder, _)| text.contains(placeholder)) {
        None => vec![text],
        Some((placeholder, prefixes)) => prefixes.iter().map(|prefix| text.replacen(placeholder, prefix, 1)).collect(),
    }
}

fn strings(statement: &Statement) -> impl Iterator<Item = &String> {
    let values = statement.condition.values().flat_map(|keys| keys.values().flatten());
    statement.action.iter().chain(&statement.resource).chain(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_templates_can_be_used_and_never_allow_administration() {
        let templates = Templates::built_in();
        for template in [&templates.home, &templates.workspace, &templates.read, &templates.write, &templates.session] {
            for statement in &template.0.statement {
                let administers = statement.action.iter().any(|action| !action.starts_with("s3:"));
                assert_eq!(administers, statement.effect == super::super::document::Effect::Deny);
                assert!(statement.action.iter().all(|action| !action.contains('*')));
            }
        }
    }

    #[test]
    fn a_template_that_would_mean_something_else_is_refused() {
        let with = |resource: &str| {
            format!(
                r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":["s3:GetObject"],"Resource":["{resource}"]}}]}}"#
            )
        };
        let parse = |text: &str| Template::parse(text, &["{prefix}"]).map(|_| ());
        assert_eq!(parse(&with("arn:aws:s3:::{bucket}/{prefix}*")), Ok(()));
        for resource in
            ["arn:aws:s3:::{bucket}/*", "{bucket}/{user}/{prefix}", "{prefix}{prefix}", "{prefix}/${aws:username}"]
        {
            assert!(parse(&with(resource)).is_err(), "{resource}");
        }
        assert!(parse("{}").is_err());
        assert!(parse(r#"{"Version":"2012-10-17","Statement":[]}"#).is_err());
        assert!(parse(&with("{prefix}").replace("Resource", "NotResource")).is_err());
        assert!(Templates::from_folder(Path::new("/nonexistent")).is_err_and(|error| error.file == "home.json"));
    }
}
