use std::error::Error;
use std::fmt;

/// Fails as a real body does, with a cause behind it: "boom" has the source "root of boom".
#[derive(Debug)]
pub struct ScriptError {
    message: String,
    root: Root,
}

#[derive(Debug)]
struct Root(String);

impl ScriptError {
    /// Makes the error and its source.
    pub fn new(message: impl Into<String>) -> Self {
        let message = message.into();
        Self { root: Root(format!("root of {message}")), message }
    }
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for ScriptError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.root)
    }
}

impl Error for Root {}
