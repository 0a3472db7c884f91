//! The fuzz targets' properties hold for the kept corpus, and for random inputs that are like it or like nothing.

use std::{fs, path::Path};

use proptest::{prelude::*, sample::select, test_runner::TestRunner};

#[path = "../../fuzz/properties.rs"]
mod properties;

/// What hostile input is often made of.
const FRAGMENTS: [&str; 24] = [
    "",
    "*",
    "?",
    "${aws:username}",
    "{prefix}",
    "..",
    "/",
    "//",
    "%2e",
    "\"",
    "\\",
    "\n",
    "\0",
    "\u{85}",
    "\u{fffe}",
    "é",
    "e\u{301}",
    "\u{212a}",
    "[[[[",
    "{\"a\":",
    "null",
    "-1e999",
    "&",
    "users-warehouse/alice",
];

fn holds(target: &str, cases: u32, property: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let kept: Vec<Vec<u8>> =
        fs::read_dir(folder).unwrap().map(|file| fs::read(file.unwrap().path()).unwrap()).collect();
    assert!(!kept.is_empty());
    kept.iter().for_each(|input| property(input));
    let pieces = FRAGMENTS.iter().map(|text| text.as_bytes().to_vec()).chain(kept.iter().cloned()).collect::<Vec<_>>();
    let edit = (any::<prop::sample::Index>(), 0..16_usize, select(pieces));
    let alike = (select(kept), prop::collection::vec(edit, 1..6)).prop_map(|(mut input, edits)| {
        for (at, cut, piece) in edits {
            let at = at.index(input.len() + 1);
            input.splice(at..input.len().min(at + cut), piece);
        }
        input
    });
    let input = prop_oneof![9 => alike, 1 => prop::collection::vec(any::<u8>(), 0..200)];
    let config =
        ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 200, ..ProptestConfig::default() };
    TestRunner::new(config)
        .run(&input, |input| {
            property(&input);
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{target}: {error}"));
}

#[test]
fn a_path_is_one_folder() {
    holds("path", 2000, properties::path);
}

#[test]
fn a_name_is_what_the_documentation_says() {
    holds("name", 5000, properties::name);
}

#[test]
fn a_session_scope_is_what_the_documentation_says() {
    holds("session_scope", 2000, properties::session_scope);
}

#[test]
fn a_session_policy_fits_and_is_never_more_when_narrowed() {
    holds("policy_fit", 300, properties::policy_fit);
}

#[test]
fn nothing_opens_that_was_not_sealed() {
    holds("unseal", 100, properties::unseal);
}

#[test]
fn a_jwt_is_believed_only_with_a_right_to_be() {
    holds("jwt", 1000, properties::jwt);
}

#[test]
fn a_template_that_is_taken_is_about_the_folder_asked_for() {
    holds("templates", 1000, properties::templates);
}

#[test]
fn a_form_of_sts_is_refused_in_xml() {
    holds("sts_form", 2000, properties::sts_form);
}
