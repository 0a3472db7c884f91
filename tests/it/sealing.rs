//! What we seal, MinIO's own published packages open, and the other way round.

use base64::{Engine, engine::general_purpose::STANDARD};
use lakepass::minio::seal::{Algorithm, SealError, open, seal};
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::go::GoProgram;

const ALL: [Algorithm; 3] =
    [Algorithm::Argon2idAes256Gcm, Algorithm::Argon2idChaCha20Poly1305, Algorithm::Pbkdf2Aes256Gcm];
/// Nothing, one byte, around one fragment of the stream, and more than two.
const SIZES: [usize; 6] = [0, 1, 16383, 16384, 16385, 40000];
const SECRET: &str = "a secret with a \" and an é";
const WRONG: &str = "another secret";

#[test]
fn madmin_opens_what_we_seal() {
    let madmin = GoProgram::build("madmin");
    let cases = cases();
    let asked = cases.iter().map(|(algorithm, plaintext)| {
        let sealed = seal(*algorithm, &SecretString::from(SECRET), plaintext).unwrap();
        json!({"op": "open", "secret": SECRET, "data": STANDARD.encode(sealed)})
    });
    for ((algorithm, plaintext), answer) in cases.iter().zip(ask(&madmin, asked)) {
        assert!(answer.as_ref() == Ok(plaintext), "{algorithm:?}, {} bytes: {}", plaintext.len(), brief(&answer));
    }
}

#[test]
fn we_open_what_madmin_seals() {
    let madmin = GoProgram::build("madmin");
    let cases = cases();
    let asked = cases.iter().map(|(algorithm, plaintext)| asked_to_seal(*algorithm, plaintext));
    for ((algorithm, plaintext), answer) in cases.iter().zip(ask(&madmin, asked)) {
        let what = format!("{algorithm:?}, {} bytes", plaintext.len());
        let sealed = answer.unwrap_or_else(|error| panic!("{what}: madmin does not seal: {error}"));
        assert_eq!(sealed[32], *algorithm as u8, "{what}");
        let opened = open(&SecretString::from(SECRET), &sealed).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(*opened == *plaintext, "{what}: other bytes came out");
    }
}

#[test]
fn a_wrong_secret_opens_nothing() {
    let madmin = GoProgram::build("madmin");
    for plaintext in [&b""[..], b"{}"] {
        let ours = ask(
            &madmin,
            ALL.map(|algorithm| {
                let sealed = seal(algorithm, &SecretString::from(SECRET), plaintext).unwrap();
                json!({"op": "open", "secret": WRONG, "data": STANDARD.encode(sealed)})
            }),
        );
        let theirs = ask(&madmin, ALL.map(|algorithm| asked_to_seal(algorithm, plaintext)));
        for ((algorithm, ours), theirs) in ALL.into_iter().zip(ours).zip(theirs) {
            // As sio-go says that a stream is not authentic.
            assert_eq!(ours, Err("sio: data is not authentic".to_owned()), "{algorithm:?}");
            let opened = open(&SecretString::from(WRONG), &theirs.unwrap());
            assert_eq!(opened, Err(SealError::NotAuthentic), "{algorithm:?}");
        }
    }
}

fn cases() -> Vec<(Algorithm, Vec<u8>)> {
    // 251 is prime: no two fragments begin with the same byte.
    let plaintext = |size| (0..size).map(|i| (i % 251) as u8).collect::<Vec<u8>>();
    ALL.into_iter().flat_map(|algorithm| SIZES.map(|size| (algorithm, plaintext(size)))).collect()
}

fn asked_to_seal(algorithm: Algorithm, plaintext: &[u8]) -> Value {
    json!({"op": "seal", "algorithm": algorithm as u8, "secret": SECRET, "data": STANDARD.encode(plaintext)})
}

/// For messages: not 40 kB of bytes.
fn brief(answer: &Result<Vec<u8>, String>) -> String {
    match answer {
        Ok(bytes) => format!("{} other bytes came out", bytes.len()),
        Err(error) => error.clone(),
    }
}

/// One answer of madmin-go to each of what is asked: the bytes, or the error.
fn ask(madmin: &GoProgram, asked: impl IntoIterator<Item = Value>) -> Vec<Result<Vec<u8>, String>> {
    let asked: Vec<String> = asked.into_iter().map(|request| format!("{request}\n")).collect();
    let output = madmin.run(&asked.concat());
    assert!(output.status.success(), "the madmin program ended with {}", output.status);
    let answers: Vec<_> = String::from_utf8(output.stdout).unwrap().lines().map(answer).collect();
    assert_eq!(answers.len(), asked.len(), "one answer a line");
    answers
}

fn answer(line: &str) -> Result<Vec<u8>, String> {
    let answer: Value = serde_json::from_str(line).unwrap();
    match (answer["data"].as_str(), answer["error"].as_str()) {
        (Some(data), None) => Ok(STANDARD.decode(data).unwrap()),
        (None, Some(error)) => Err(error.to_owned()),
        _ => panic!("neither data nor an error: {line}"),
    }
}
