//! Credentials by reference: never written in the configuration, never printed.

use std::fmt;
use std::path::{Path, PathBuf};

/// Where a credential is to be found.
///
/// A file is read anew each time it is needed, so that a rotated credential is used by the next connection.
#[derive(Clone)]
pub enum Secret {
    /// The value of an environment variable, read when the configuration was.
    Variable {
        /// Name of the variable.
        name: String,
        /// Its value.
        value: Revealed,
    },
    /// A file; white space at its end is not part of the secret.
    File(PathBuf),
}

/// A credential in the clear. It has no `Display`, and its `Debug` says nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Revealed(String);

/// A credential's file could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the credential file {}", path.display())]
pub struct UnreadableSecret {
    path: PathBuf,
    source: std::io::Error,
}

impl Secret {
    /// The credential itself.
    ///
    /// # Errors
    /// When its file cannot be read.
    pub fn reveal(&self) -> Result<Revealed, UnreadableSecret> {
        match self {
            Self::Variable { value, .. } => Ok(value.clone()),
            Self::File(path) => read(path),
        }
    }
}

fn read(path: &Path) -> Result<Revealed, UnreadableSecret> {
    let text =
        std::fs::read_to_string(path).map_err(|source| UnreadableSecret { path: path.to_owned(), source })?;
    Ok(Revealed::new(text.trim_end()))
}

impl Revealed {
    /// Wraps a credential.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The credential, for the one call that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Revealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable { name, value: _ } => write!(f, "env {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_names_the_place_and_not_the_secret() {
        let secret = Secret::Variable { name: "REDIS_PASSWORD".into(), value: Revealed::new("hunter2") };
        assert_eq!(format!("{secret:?}"), "env REDIS_PASSWORD");
        assert_eq!(format!("{:?}", secret.reveal().unwrap()), "[redacted]");
    }

    #[test]
    fn a_file_is_read_anew_each_time_without_its_last_newline() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let secret = Secret::File(file.path().to_owned());
        for password in ["first", "second"] {
            std::fs::write(file.path(), format!("{password}\n")).unwrap();
            assert_eq!(secret.reveal().unwrap().expose(), password);
        }
    }
}
