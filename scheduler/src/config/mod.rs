//! What a scheduler process is to do: its profiles and limits.
//!
//! Promise: a [`Config`] is valid. `file` is upstream's file format, `complete` fills in defaults and checks, `resolve`
//! finds the plugins of a profile, `args` their arguments, `build` makes them.

mod args;
mod build;
mod complete;
mod duration;
mod faults;
mod file;
mod resolve;
mod validate;

pub use args::Args;
pub use duration::GoDuration;
pub use faults::Faults;
pub use file::{Extender, File};
pub use resolve::Chosen;

use crate::extender::Interests;
use crate::framework::{Profile, Profiles};
use crate::pod::DEFAULT_SCHEDULER;
use crate::queue::Backoff;
use component::leader::LeaderConfig;
use std::path::PathBuf;

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
    /// Which pods the extenders are asked about.
    pub interests: Interests,
}

/// One profile: which pods, and how their node is found.
#[derive(Clone, Debug)]
pub struct ProfileConfig {
    /// `spec.schedulerName` of the pods it is for.
    pub scheduler_name: String,
    /// Its plugins, in order.
    pub plugins: Vec<Chosen>,
    /// Their arguments.
    pub args: Args,
    /// Look for fitting nodes only until so many percent of all nodes fit; `None`: look at every node.
    pub percentage_of_nodes_to_score: Option<u8>,
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A profile without a name would schedule nothing.
    #[error("a scheduler name must not be empty: check --scheduler-name")]
    EmptyName,
    /// Two profiles for the same pods.
    #[error("scheduler name {0:?} is given twice: check --scheduler-name")]
    DuplicateName(String),
    /// The file cannot be read.
    #[error("cannot read configuration {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write configuration {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The file is not YAML, or has a field that is unknown or of another type.
    #[error("configuration {} is not valid", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What and where.
        source: serde_yaml_ng::Error,
    },
    /// The file is something else.
    #[error(
        "configuration {} has kind {kind:?} and apiVersion {api_version:?}: it has to be a {} of {}",
        path.display(), file::KIND, file::API_VERSION
    )]
    Kind {
        /// The file.
        path: PathBuf,
        /// Its `apiVersion`.
        api_version: String,
        /// Its `kind`.
        kind: String,
    },
    /// What the file or the flags ask for cannot be done.
    #[error("the configuration is not valid: {0}")]
    Faults(Faults),
}

impl From<Faults> for ConfigError {
    fn from(faults: Faults) -> Self {
        Self::Faults(faults)
    }
}

impl ProfileConfig {
    /// Upstream's default profile for the pods of this scheduler name.
    pub fn named(scheduler_name: impl Into<String>) -> Self {
        let plugins = resolve::resolve(&file::Plugins::default(), "", &mut Faults::default());
        let (args, percentage_of_nodes_to_score) = (Args::default(), None);
        Self { scheduler_name: scheduler_name.into(), plugins, args, percentage_of_nodes_to_score }
    }

    /// Builds its plugins.
    pub fn profile(&self) -> Profile {
        Profile::new(self.scheduler_name.clone(), resolve::enabled(&self.plugins, &self.args))
            .sampling(self.percentage_of_nodes_to_score)
    }
}

impl Config {
    /// The default profile for each of these scheduler names; `default-scheduler` if there is none.
    ///
    /// # Errors
    ///
    /// When a name is empty or given twice.
    pub fn for_names(names: &[String]) -> Result<Self, ConfigError> {
        Self::alone(File::for_names(names)?)
    }

    /// What a file asks for, for questions that are asked outside of a running scheduler: nobody is elected.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or what it asks for cannot be done.
    pub fn of_file(path: &std::path::Path) -> Result<Self, ConfigError> {
        Self::alone(File::read(path)?)
    }

    /// What a file asks for, where there is no other copy to take turns with: nobody is elected.
    ///
    /// # Errors
    ///
    /// When what it asks for cannot be done.
    pub fn alone(file: File) -> Result<Self, ConfigError> {
        let leader = file::LeaderElection { leader_elect: Some(false), ..file::LeaderElection::default() };
        Ok(File { leader_election: leader, ..file }.config("")?)
    }

    /// Whose pods are scheduled.
    pub fn scheduler_names(&self) -> impl Iterator<Item = &str> {
        self.profiles.iter().map(|profile| profile.scheduler_name.as_str())
    }

    /// Builds the plugins.
    pub fn profiles(&self) -> Profiles {
        Profiles::new(self.profiles.iter().map(ProfileConfig::profile).collect())
    }
}

impl Default for Config {
    fn default() -> Self {
        let profiles = vec![ProfileConfig::named(DEFAULT_SCHEDULER)];
        Self {
            profiles,
            backoff: Backoff::default(),
            leader: None,
            seed: None,
            interests: Interests::default(),
        }
    }
}

#[cfg(test)]
mod tests;
