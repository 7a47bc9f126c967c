//! What a scheduler process is to do: its profiles and limits.

use crate::framework::{Profile, Profiles};
use crate::plugins;
use crate::pod::DEFAULT_SCHEDULER;
use crate::queue::Backoff;
use component::leader::LeaderConfig;
use std::collections::BTreeSet;

/// The configuration, validated.
#[derive(Clone, Debug)]
pub struct Config {
    /// The profiles; their names are not empty and differ.
    pub profiles: Vec<ProfileConfig>,
    /// How long failed pods wait.
    pub backoff: Backoff,
    /// Who may lead; `None`: this process does, without asking.
    pub leader: Option<LeaderConfig>,
    /// Makes the choice between equally good nodes repeatable.
    pub seed: Option<u64>,
}

/// One profile: which pods, and how their node is found.
#[derive(Clone, Debug)]
pub struct ProfileConfig {
    /// `spec.schedulerName` of the pods it is for.
    pub scheduler_name: String,
}

/// Why a configuration is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A profile without a name would schedule nothing.
    #[error("a scheduler name must not be empty: check --scheduler-name")]
    EmptyName,
    /// Two profiles for the same pods.
    #[error("scheduler name {0:?} is given twice: check --scheduler-name")]
    DuplicateName(String),
}

impl Config {
    /// The default profile for each of these scheduler names; `default-scheduler` if there is none.
    ///
    /// # Errors
    ///
    /// When a name is empty or given twice.
    pub fn for_names(names: &[String]) -> Result<Self, ConfigError> {
        let mut seen = BTreeSet::new();
        for name in names {
            if name.is_empty() {
                return Err(ConfigError::EmptyName);
            }
            if !seen.insert(name) {
                return Err(ConfigError::DuplicateName(name.clone()));
            }
        }
        let default = [DEFAULT_SCHEDULER.to_owned()];
        let names = if names.is_empty() { &default } else { names };
        let profiles = names.iter().map(|name| ProfileConfig { scheduler_name: name.clone() }).collect();
        Ok(Self { profiles, ..Self::default() })
    }

    /// Whose pods are scheduled.
    pub fn scheduler_names(&self) -> impl Iterator<Item = &str> {
        self.profiles.iter().map(|profile| profile.scheduler_name.as_str())
    }

    /// Builds the plugins.
    pub fn profiles(&self) -> Profiles {
        let profile =
            |profile: &ProfileConfig| Profile::new(profile.scheduler_name.clone(), plugins::defaults());
        Profiles::new(self.profiles.iter().map(profile).collect())
    }
}

impl Default for Config {
    fn default() -> Self {
        let profiles = vec![ProfileConfig { scheduler_name: DEFAULT_SCHEDULER.to_owned() }];
        Self { profiles, backoff: Backoff::default(), leader: None, seed: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_must_be_given_and_different() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(Config::for_names(&names(&["a", ""])).unwrap_err(), ConfigError::EmptyName);
        assert_eq!(
            Config::for_names(&names(&["a", "a"])).unwrap_err(),
            ConfigError::DuplicateName("a".into())
        );
        let profiles = Config::for_names(&names(&["a", "b"])).unwrap().profiles();
        assert!(profiles.get("a").is_some() && profiles.get("b").is_some());
        assert!(profiles.get(DEFAULT_SCHEDULER).is_none());
        assert!(Config::for_names(&[]).unwrap().profiles().get(DEFAULT_SCHEDULER).is_some());
    }
}
