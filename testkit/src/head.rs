#[cfg(test)]
mod tests;

/// Reads a raw HTTP/1 head, of a request or a response, just as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head(String);

impl Head {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        Self(String::from_utf8_lossy(bytes).into_owned())
    }

    /// Gives the first line.
    pub fn start_line(&self) -> &str {
        self.0.lines().next().unwrap_or_default()
    }

    /// Gives the status of a response.
    pub fn status(&self) -> Option<u16> {
        self.start_line().strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()
    }

    /// Gives the first header of this name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.0.lines().skip(1).filter_map(|line| line.split_once(':'));
        fields.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    /// Gives the whole text with all its line ends.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Finds where the head ends, its blank line included.
pub(crate) fn head_len(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}
