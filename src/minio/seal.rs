//! The encryption of MinIO's admin bodies. Knows bytes and a secret, and nothing of HTTP or of what is inside.
//!
//! The form is madmin-go's (`encrypt.go`): `salt (32) | algorithm (1) | nonce (8) | stream`, where the stream is that of
//! secure-io/sio-go: fragments of 16 KiB, each sealed with an AEAD under the nonce and a little-endian counter. Counter 0
//! authenticates the (empty) associated data; its tag, behind a byte that says whether a fragment is the last one, is the
//! associated data of each fragment.
//!
//! The client chooses the algorithm of a request, and the server accepts each. PBKDF2 costs both sides a few
//! milliseconds, argon2id with its 64 MiB tens of them: so [`Algorithm::Pbkdf2Aes256Gcm`] is what to send.

use std::num::NonZeroU32;

use aws_lc_rs::{
    aead::{self, Aad, LessSafeKey, Nonce, UnboundKey},
    pbkdf2, rand,
};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

const SALT: usize = 32;
const NONCE: usize = 8;
const HEADER: usize = SALT + 1 + NONCE;
const TAG: usize = 16;
/// The plaintext of one fragment.
const FRAGMENT: usize = 16 * 1024;
const PBKDF2_ROUNDS: NonZeroU32 = NonZeroU32::new(8192).unwrap();

/// How a body is sealed. The discriminant is the byte on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Algorithm {
    Argon2idAes256Gcm = 0,
    Argon2idChaCha20Poly1305 = 1,
    Pbkdf2Aes256Gcm = 2,
}

/// Why a body does not open. Says nothing of the secret or of the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    #[error("the sealed body is too short")]
    Truncated,
    #[error("the sealed body names the unknown algorithm {0}")]
    UnknownAlgorithm(u8),
    #[error("the sealed body was changed, or sealed with another secret")]
    NotAuthentic,
    #[error("the cryptographic library failed")]
    Library,
}

/// Seals a body as MinIO's admin API reads it.
pub fn seal(algorithm: Algorithm, secret: &SecretString, plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
    let mut header = [0; HEADER];
    rand::fill(&mut header).map_err(|_| SealError::Library)?;
    header[SALT] = algorithm as u8;
    let stream = Stream::new(algorithm, secret, &header)?;
    let mut sealed = header.to_vec();
    let mut fragments = fragments(plaintext, FRAGMENT).enumerate().peekable();
    while let Some((index, fragment)) = fragments.next() {
        let start = sealed.len();
        sealed.extend_from_slice(fragment);
        let aad = stream.associated_data(fragments.peek().is_none());
        let tag = stream
            .key
            .seal_in_place_separate_tag(stream.nonce(index)?, Aad::from(aad), &mut sealed[start..])
            .map_err(|_| SealError::Library)?;
        sealed.extend_from_slice(tag.as_ref());
    }
    Ok(sealed)
}

/// Opens a body that MinIO's admin API sealed, whichever algorithm it chose.
pub fn open(secret: &SecretString, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let (header, body) = sealed.split_first_chunk::<HEADER>().ok_or(SealError::Truncated)?;
    if body.len() < TAG {
        return Err(SealError::Truncated);
    }
    let algorithm = match header[SALT] {
        0 => Algorithm::Argon2idAes256Gcm,
        1 => Algorithm::Argon2idChaCha20Poly1305,
        2 => Algorithm::Pbkdf2Aes256Gcm,
        other => return Err(SealError::UnknownAlgorithm(other)),
    };
    let stream = Stream::new(algorithm, secret, header)?;
    let mut plaintext = Zeroizing::new(Vec::with_capacity(body.len()));
    let mut fragments = fragments(body, FRAGMENT + TAG).enumerate().peekable();
    while let Some((index, fragment)) = fragments.next() {
        let mut fragment = Zeroizing::new(fragment.to_vec());
        let aad = stream.associated_data(fragments.peek().is_none());
        let opened = stream
            .key
            .open_in_place(stream.nonce(index)?, Aad::from(aad), &mut fragment)
            .map_err(|_| SealError::NotAuthentic)?;
        plaintext.extend_from_slice(opened);
    }
    Ok(plaintext)
}

/// Like `chunks`, but nothing at all is one empty fragment.
fn fragments(bytes: &[u8], size: usize) -> impl Iterator<Item = &[u8]> {
    let empty = bytes.is_empty().then_some(bytes);
    empty.into_iter().chain(bytes.chunks(size))
}

struct Stream {
    key: LessSafeKey,
    nonce: [u8; NONCE],
    /// The tag of counter 0.
    tag: [u8; TAG],
}

impl Stream {
    fn new(algorithm: Algorithm, secret: &SecretString, header: &[u8; HEADER]) -> Result<Self, SealError> {
        let (salt, nonce) = (&header[..SALT], &header[SALT + 1..]);
        let mut key = Zeroizing::new([0; 32]);
        let secret = secret.expose_secret().as_bytes();
        let cipher = match algorithm {
            Algorithm::Argon2idAes256Gcm | Algorithm::Argon2idChaCha20Poly1305 => {
                let params = argon2::Params::new(64 * 1024, 1, 4, Some(32)).map_err(|_| SealError::Library)?;
                argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params)
                    .hash_password_into(secret, salt, key.as_mut())
                    .map_err(|_| SealError::Library)?;
                match algorithm {
                    Algorithm::Argon2idChaCha20Poly1305 => &aead::CHACHA20_POLY1305,
                    Algorithm::Argon2idAes256Gcm | Algorithm::Pbkdf2Aes256Gcm => &aead::AES_256_GCM,
                }
            }
            Algorithm::Pbkdf2Aes256Gcm => {
                pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, PBKDF2_ROUNDS, salt, secret, key.as_mut());
                &aead::AES_256_GCM
            }
        };
        let key = LessSafeKey::new(UnboundKey::new(cipher, key.as_ref()).map_err(|_| SealError::Library)?);
        let mut stream = Self { key, nonce: nonce.try_into().map_err(|_| SealError::Truncated)?, tag: [0; TAG] };
        let tag = stream
            .key
            .seal_in_place_separate_tag(stream.nonce_of(0), Aad::empty(), &mut [])
            .map_err(|_| SealError::Library)?;
        stream.tag.copy_from_slice(tag.as_ref());
        Ok(stream)
    }

    fn associated_data(&self, last: bool) -> [u8; 1 + TAG] {
        let mut data = [0; 1 + TAG];
        data[0] = if last { 0x80 } else { 0 };
        data[1..].copy_from_slice(&self.tag);
        data
    }

    /// The nonce of a fragment, by its index in the stream.
    fn nonce(&self, index: usize) -> Result<Nonce, SealError> {
        Ok(self.nonce_of(u32::try_from(index + 1).map_err(|_| SealError::Library)?))
    }

    fn nonce_of(&self, counter: u32) -> Nonce {
        let mut nonce = [0; NONCE + 4];
        nonce[..NONCE].copy_from_slice(&self.nonce);
        nonce[NONCE..].copy_from_slice(&counter.to_le_bytes());
        Nonce::assume_unique_for_key(nonce)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Algorithm; 3] =
        [Algorithm::Argon2idAes256Gcm, Algorithm::Argon2idChaCha20Poly1305, Algorithm::Pbkdf2Aes256Gcm];

    fn secret() -> SecretString {
        SecretString::from("a secret of some length")
    }

    #[test]
    fn what_is_sealed_opens() {
        for size in [0, 1, 15, FRAGMENT - 1, FRAGMENT, FRAGMENT + 1, 2 * FRAGMENT, 2 * FRAGMENT + 7] {
            let plaintext: Vec<u8> = (0..size).map(|i| i as u8).collect();
            let algorithms = if size < 100 { &ALL[..] } else { &ALL[2..] };
            for algorithm in algorithms {
                let sealed = seal(*algorithm, &secret(), &plaintext).unwrap();
                assert_eq!(*open(&secret(), &sealed).unwrap(), plaintext, "{algorithm:?} {size}");
            }
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_is_found() {
        let sealed = seal(Algorithm::Pbkdf2Aes256Gcm, &secret(), b"{}").unwrap();
        for i in (0..sealed.len()).filter(|i| *i != SALT) {
            let mut changed = sealed.clone();
            changed[i] ^= 1;
            assert_eq!(open(&secret(), &changed), Err(SealError::NotAuthentic), "byte {i}");
        }
        let mut unknown = sealed;
        unknown[SALT] = 3;
        assert_eq!(open(&secret(), &unknown), Err(SealError::UnknownAlgorithm(3)));
    }

    #[test]
    fn a_body_cut_or_grown_or_reordered_is_found() {
        let sealed = seal(Algorithm::Pbkdf2Aes256Gcm, &secret(), &[7; FRAGMENT + 5]).unwrap();
        let second = HEADER + FRAGMENT + TAG;
        for cut in [0, 1, HEADER, HEADER + TAG - 1, HEADER + TAG, second - 1, second, second + TAG, sealed.len() - 1] {
            assert!(open(&secret(), &sealed[..cut]).is_err(), "cut to {cut}");
        }
        let mut grown = sealed.clone();
        grown.push(0);
        assert!(open(&secret(), &grown).is_err());
        let reordered = [&sealed[..HEADER], &sealed[second..], &sealed[HEADER..second]].concat();
        assert!(open(&secret(), &reordered).is_err());
        assert_eq!(open(&SecretString::from("another"), &sealed), Err(SealError::NotAuthentic));
    }
}
