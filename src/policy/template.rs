//! The templates of `policies/`.

use std::{collections::BTreeMap, path::Path};

use jiff::Timestamp;

use super::document::{Effect, PolicyDocument, Statement, Version};

/// The templates that all policies are made of.
///
/// - Each is a policy document with `{bucket}` where the bucket goes. A list element with `{prefix}` stands for one such
///   element a path; one with `{folder}` for the same without the final `/`, which S3A asks for before it lists. A statement
///   that is about paths is left out where there are none.
/// - The session's has `{prefix}` for every path, `{readable}` for those that are read only and `{writable}` for the rest.
/// - What is allowed is about paths or about the bucket itself, and never administration. A user's own policy denies the
///   making of further keys: what a session policy keeps from sessions, it keeps from lake keys.
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

/// What makes keys that live on when their maker has lost everything.
const MINTING: [&str; 2] = ["admin:CreateServiceAccount", "admin:UpdateServiceAccount"];

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
        let home = template("home", &["{prefix}"])?;
        if !home.denies_minting() {
            let reason = format!("it needs a statement that denies {MINTING:?}: lake keys could make further keys");
            return Err(TemplateError { file: "home.json".into(), reason });
        }
        Ok(Self {
            home,
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
        for statement in document.statement.iter().filter(|statement| statement.effect == Effect::Allow) {
            if let Some(action) = statement.action.iter().find(|action| !action.starts_with("s3:")) {
                return Err(format!("it allows `{action}`, and only actions of S3 can be allowed"));
            }
            let elsewhere = |resource: &&String| {
                let within = resource.strip_prefix("arn:aws:s3:::{bucket}");
                !within.is_some_and(|within| within.is_empty() || within.starts_with('/'))
            };
            if let Some(resource) = statement.resource.iter().find(elsewhere) {
                let bucket = "`arn:aws:s3:::{bucket}` or something in it";
                return Err(format!(
                    "it allows something for `{resource}`, and not for {bucket}: nobody may reach the ledger"
                ));
            }
            let all_about_paths = |texts: &[String]| texts.iter().all(|text| names_a_path(text));
            let by_resource = !statement.resource.is_empty() && all_about_paths(&statement.resource);
            let by_condition =
                statement.condition.values().flat_map(BTreeMap::values).any(|texts| all_about_paths(texts));
            let about_the_bucket = statement.action.iter().all(|action| action == "s3:GetBucketLocation");
            if !(by_resource || by_condition || about_the_bucket) {
                return Err(format!("{:?} is allowed everywhere, and not for `{{prefix}}`", statement.action));
            }
        }
        for text in document.statement.iter().flat_map(strings) {
            let mut rest = text.replace("{bucket}", "").replacen("{folder}", "", 1);
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

    fn denies_minting(&self) -> bool {
        let denies = |action: &str| {
            let denied = self.0.statement.iter().filter(|s| s.effect == Effect::Deny && s.condition.is_empty());
            denied.flat_map(|statement| &statement.action).any(|denied| denied == action)
        };
        MINTING.iter().all(|action| denies(action))
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

fn names_a_path(text: &str) -> bool {
    ["{prefix}", "{readable}", "{writable}", "{folder}"].iter().any(|placeholder| text.contains(placeholder))
}

fn fill_text(text: &str, bucket: &str, prefixes: &Prefixes) -> Vec<String> {
    let text = text.replace("{bucket}", bucket);
    if text.contains("{folder}") {
        let all = prefixes.iter().find(|(placeholder, _)| *placeholder == "{prefix}").map(|(_, all)| all);
        let folders = all.into_iter().flatten().filter_map(|prefix| prefix.strip_suffix('/'));
        return folders.map(|folder| text.replacen("{folder}", folder, 1)).collect();
    }
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
                assert_eq!(administers, statement.effect == Effect::Deny);
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
            ["arn:aws:s3:::{bucket}/*", "{bucket}/{user}/{prefix}", "{prefix}{prefix}", "{prefix}/${aws:username}", "*"]
        {
            assert!(parse(&with(resource)).is_err(), "{resource}");
        }
        for elsewhere in
            ["arn:aws:s3:::*/{prefix}*", "arn:aws:s3:::{bucket}*/{prefix}", "arn:aws:s3:::lakepass/{prefix}"]
        {
            assert!(parse(&with(elsewhere)).unwrap_err().contains("ledger"), "{elsewhere}");
        }
        let good = with("arn:aws:s3:::{bucket}/{prefix}*");
        assert!(parse(&good.replace("s3:GetObject", "admin:CreateServiceAccount")).is_err());
        assert!(parse(&with("arn:aws:s3:::{bucket}/{prefix}*\", \"arn:aws:s3:::{bucket}/*")).is_err());
        assert!(!Template::parse(&good, &["{prefix}"]).unwrap().denies_minting());
        assert!(parse("{}").is_err());
        assert!(parse(r#"{"Version":"2012-10-17","Statement":[]}"#).is_err());
        assert!(parse(&good.replace("Resource", "NotResource")).is_err());
        assert!(Templates::from_folder(Path::new("/nonexistent")).is_err_and(|error| error.file == "home.json"));
    }
}
