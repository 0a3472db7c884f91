//! What all operations of the OpenAPI document have in common, so that none has to say it.

use axum::http::StatusCode;
use serde_json::{Map, Value};

const PROBLEM: &str = "#/components/schemas/Problem";

/// The document, as it is served: with operation ids that differ, a word on each response, and problems as RFC 9457 has them.
pub fn complete(api: &utoipa::openapi::OpenApi) -> Value {
    let mut document = serde_json::to_value(api).expect("the OpenAPI document is made of strings");
    for (path, item) in objects(&mut document["paths"]) {
        for (method, operation) in objects(item) {
            operation["operationId"] = operation_id(method, path).into();
            optional_body(operation);
            for (status, response) in objects(&mut operation["responses"]) {
                describe(status, response);
                name_problems(response);
            }
        }
    }
    document
}

/// `get_admin_users` for `GET /admin/users`.
fn operation_id(method: &str, path: &str) -> String {
    let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    std::iter::once(method).chain(words).collect::<Vec<_>>().join("_")
}

/// A body that may be missing is written `Option`; that is not one that may be `null`.
fn optional_body(operation: &mut Value) {
    for (_, content) in operation.pointer_mut("/requestBody/content").into_iter().flat_map(objects) {
        if content.pointer("/schema/oneOf/1/type").is_some_and(|kind| kind == "null") {
            content["schema"] = content["schema"]["oneOf"][0].take();
        }
    }
}

/// A response without a description is none in OpenAPI.
fn describe(status: &str, response: &mut Value) {
    let reason = status.parse().ok().and_then(|status: StatusCode| status.canonical_reason());
    let Value::Object(response) = response else { return };
    response.entry("description").or_insert_with(|| reason.unwrap_or("What is wrong, and what to do").into());
}

fn name_problems(response: &mut Value) {
    let Some(content) = response.get_mut("content").and_then(Value::as_object_mut) else { return };
    if content.get("application/json").is_some_and(|json| json["schema"]["$ref"] == PROBLEM) {
        let problem = content.remove("application/json").unwrap_or_default();
        content.insert("application/problem+json".to_owned(), problem);
    }
}

fn objects(value: &mut Value) -> impl Iterator<Item = (&String, &mut Value)> {
    value.as_object_mut().into_iter().flat_map(Map::iter_mut)
}
