//! Ids that nobody can guess, and the fingerprints of prompts.

use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};

/// A new id: 128 bits in hexadecimal. Who knows the id of a task may read its result, so it cannot be guessed.
pub(crate) fn id() -> String {
    let mut bytes = [0; 16];
    // The system has no randomness only where it cannot run programs either.
    if SystemRandom::new().fill(&mut bytes).is_err() {
        bytes = fastrand::u128(..).to_be_bytes();
    }
    hexadecimal(&bytes)
}

/// What tells two prompts apart, and says nothing about them.
pub(crate) fn fingerprint(prompt: &str) -> String {
    hexadecimal(digest(&SHA256, prompt.as_bytes()).as_ref())
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|nibble| char::from(b"0123456789abcdef"[usize::from(nibble)]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_and_fingerprints_of_one_prompt_do_not() {
        assert_ne!(id(), id());
        assert_eq!(id().len(), 32);
        assert_eq!(fingerprint("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
