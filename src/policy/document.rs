//! A policy document, as MinIO reads it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// An IAM policy document. See AWS, "IAM JSON policy elements reference"; every list is written as a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct PolicyDocument {
    pub version: Version,
    pub statement: Vec<Statement>,
}

/// The one version of the policy language that has variables and conditions as we use them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Version {
    #[serde(rename = "2012-10-17")]
    V2012,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Statement {
    pub effect: Effect,
    pub action: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resource: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub condition: BTreeMap<String, BTreeMap<String, Vec<String>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effect {
    Allow,
    Deny,
}

impl PolicyDocument {
    /// Compact JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a policy document has string keys only")
    }

    pub fn to_value(&self) -> serde_json::Value {
        serde_json::to_value(self).expect("a policy document has string keys only")
    }
}

/// The bytes of a document as MinIO counts them: of the compact JSON that Go's encoder would write, which escapes some
/// characters that serde_json does not (`encoding/json`, `HTMLEscape`).
pub(super) fn bytes_in_go(json: &str) -> usize {
    let escaped = json.chars().map(|c| match c {
        '<' | '>' | '&' => 5,
        '\u{2028}' | '\u{2029}' => 3,
        _ => 0,
    });
    json.len() + escaped.sum::<usize>()
}
