//! What looks like a credential, and must not be repeated.

/// How keys of providers and clouds begin.
const PREFIXES: &[&str] = &[
    "sk-",
    "sk_",
    "pk-",
    "pk_",
    "rk_",
    "gsk_",
    "csk-",
    "xai-",
    "pplx-",
    "nvapi-",
    "hf_",
    "r8_",
    "fw_",
    "tgp_",
    "AIza",
    "AKIA",
    "ASIA",
    "ya29.",
    "eyJ",
    "ghp_",
    "github_pat_",
    "glpat-",
    "Bearer ",
];

/// Length of letters and digits in a row from which on nobody has made them up as a name.
const RANDOM: usize = 20;

/// Changes between letters and digits in it that no name has: one with a version, a date and a region has five.
const BREAKS: usize = 6;

/// Whether `text` looks like an API key, or like an address that may hold one, rather than like a name.
///
/// It errs on the side of a key: a name that looks like one is refused without being repeated, and no more.
pub(super) fn is_likely(text: &str) -> bool {
    let begins_like_one = PREFIXES
        .iter()
        .any(|prefix| text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix)));
    // An address may hold a credential.
    begins_like_one || text.contains("://") || text.split(['.', '/', ':', '_', ' ']).any(is_random)
}

/// Whether letters and digits are mixed as nobody mixes them in a name. Dashes are left out, as in a UUID.
fn is_random(part: &str) -> bool {
    let characters: Vec<char> = part.chars().filter(|character| *character != '-').collect();
    // In a name digits stand together, as in a version or a date, and capitals begin words.
    let breaks = |pair: &&[char]| {
        let [one, next] = [pair[0], pair[1]];
        one.is_ascii_digit() != next.is_ascii_digit() || one.is_lowercase() && next.is_uppercase()
    };
    characters.len() >= RANDOM && characters.windows(2).filter(breaks).count() >= BREAKS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_from_names() {
        for key in [
            "sk-ant-api03-x",
            "SK-proj-abc",
            "gsk_abc",
            "AIzaSyA",
            "AKIAIOSFODNN7EXAMPLE",
            "Bearer abc",
            "https://user:word@host",
            "0f8fad5b-d9cb-469f-a165-70867728950e",
            "9f86d081884c7d659a2feaa0c55ad015",
            "q7Zk2mXw9LtB4vNcR8sYh3JdPf6GaEuT",
            "prod/q7Zk2mXw9LtB4vNcR8sYh3JdPf6GaEuT",
        ] {
            assert!(is_likely(key), "{key}");
        }
        for name in [
            "anthropic-prod",
            "anthropic/prod/claude-3-5-sonnet-20241022",
            "gpt-4o-mini-2024-07-18-eu-1",
            "AnthropicProductionEuWestOne",
            "a-very-long-name-of-a-limit-that-has-no-digit-at-all",
            "skills",
            "",
            "größe",
        ] {
            assert!(!is_likely(name), "{name}");
        }
    }
}
