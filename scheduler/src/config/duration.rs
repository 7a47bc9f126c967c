//! Durations in configuration files, as Go writes them: `15s`, `1m30s`, `10m0s`.

use component::args;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::time::Duration;

/// A duration of a configuration file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GoDuration(pub Duration);

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        args::duration(&text).map(Self).map_err(de::Error::custom)
    }
}

impl Serialize for GoDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        if seconds == 0 && !self.0.is_zero() {
            return write!(f, "{}ms", self.0.as_secs_f64() * 1000.0);
        }
        let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if hours > 0 || minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        let rest = Duration::new(seconds % 60, self.0.subsec_nanos());
        write!(f, "{}s", rest.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_what_it_reads() {
        for text in ["0s", "15s", "1m30s", "10m0s", "1h0m5s", "500ms", "1.5s"] {
            let read: GoDuration = serde_json::from_value(text.into()).unwrap();
            assert_eq!(read.to_string(), text);
        }
    }
}
