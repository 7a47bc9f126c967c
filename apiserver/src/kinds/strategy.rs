//! What a kind does of its own when an object is created, updated or deleted.
//!
//! Promise: a strategy is pure; it sees the decoded object after the schema's defaults and says how it
//! must look and what is wrong with it. Generic rules (names, labels, immutability of metadata) are not
//! repeated in strategies: `Kind::validate` adds them.

use std::fmt::Debug;

use serde_json::Value;

use crate::field::FieldErrors;
use crate::object;

/// The rules of one kind. Order within a request: `apply_defaults`, admission, `prepare_*`, `validate*`.
pub trait Strategy: Send + Sync + Debug {
    /// Defaults that the schema does not state. Must be idempotent: stored objects pass it again.
    fn apply_defaults(&self, _object: &mut Value) {}

    /// Brings a new object into its first shape, such as without status.
    fn prepare_create(&self, _object: &mut Value) {}

    /// Carries over what an update may not touch, such as the status.
    fn prepare_update(&self, _object: &mut Value, _old: &Value) {}

    /// Carries over what an update of the status may not touch: everything but the status. Metadata
    /// stays writable but for what the generic rules keep.
    fn prepare_status_update(&self, object: &mut Value, old: &Value) {
        keep_all_but_status(object, old);
    }

    fn validate(&self, _object: &Value) -> FieldErrors {
        FieldErrors::new()
    }

    /// Sees the whole new object; by default the rules of a new object hold.
    fn validate_update(&self, object: &Value, _old: &Value) -> FieldErrors {
        self.validate(object)
    }

    fn validate_status_update(&self, _object: &Value, _old: &Value) -> FieldErrors {
        FieldErrors::new()
    }

    /// Texts for `Warning` headers.
    fn warnings(&self, _object: &Value, _old: Option<&Value>) -> Vec<String> {
        Vec::new()
    }

    /// Whether objects carry `metadata.generation`.
    fn has_generation(&self) -> bool {
        false
    }

    /// Whether an update moves `metadata.generation`.
    fn generation_changed(&self, object: &Value, old: &Value) -> bool {
        object.get("spec") != old.get("spec")
    }

    /// For kinds that are deleted gracefully: how many seconds a deletion takes, 0 for at once.
    /// `None` for all other kinds.
    fn grace_seconds(&self, _object: &Value, _requested: Option<i64>) -> Option<i64> {
        None
    }

    /// Whether PUT of an object that is not there creates it.
    fn allow_create_on_update(&self) -> bool {
        false
    }

    /// Whether an update may leave `metadata.resourceVersion` out.
    fn allow_unconditional_update(&self) -> bool {
        true
    }
}

/// A strategy written down as data: what a row does not say is the common case.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// The status of a new object as JSON text; `None` for kinds without status.
    pub(super) status: Option<&'static str>,
    pub(super) generation: bool,
    /// The fields whose change moves the generation; a dot goes one deeper.
    pub(super) generation_of: &'static [&'static str],
    pub(super) create_on_update: bool,
    pub(super) unconditional_update: bool,
    pub(super) defaults: fn(&mut Value),
    /// Runs after the status was set.
    pub(super) create: fn(&mut Value),
    /// Runs after the status was carried over; sees (new, old).
    pub(super) update: fn(&mut Value, &Value),
    pub(super) validate: fn(&Value, &mut FieldErrors),
    /// What an update must fulfil beside `validate`; sees (new, old).
    pub(super) validate_update: fn(&Value, &Value, &mut FieldErrors),
    pub(super) warnings: fn(&Value) -> Vec<String>,
}

impl Rules {
    /// No status, no generation, nothing of its own.
    pub(super) const PLAIN: Self = Self {
        status: None,
        generation: false,
        generation_of: &["spec"],
        create_on_update: false,
        unconditional_update: true,
        defaults: |_| {},
        create: |_| {},
        update: |_, _| {},
        validate: |_, _| {},
        validate_update: |_, _, _| {},
        warnings: |_| Vec::new(),
    };

    /// A spec with a generation and a status that only the subresource writes.
    pub(super) const SPEC_AND_STATUS: Self = Self { status: Some("{}"), generation: true, ..Self::PLAIN };
}

impl Strategy for Rules {
    fn apply_defaults(&self, object: &mut Value) {
        (self.defaults)(object);
    }

    fn prepare_create(&self, object: &mut Value) {
        if let Some(status) = self.status {
            object["status"] =
                serde_json::from_str(status).expect("rows hold well-formed JSON, a test parses them");
        }
        (self.create)(object);
    }

    fn prepare_update(&self, object: &mut Value, old: &Value) {
        if self.status.is_some() {
            object::carry_over(object, old, "status");
        }
        (self.update)(object, old);
    }

    fn validate(&self, object: &Value) -> FieldErrors {
        let mut errors = FieldErrors::new();
        (self.validate)(object, &mut errors);
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> FieldErrors {
        let mut errors = FieldErrors::new();
        (self.validate)(object, &mut errors);
        (self.validate_update)(object, old, &mut errors);
        errors
    }

    fn warnings(&self, object: &Value, _old: Option<&Value>) -> Vec<String> {
        (self.warnings)(object)
    }

    fn has_generation(&self) -> bool {
        self.generation
    }

    fn generation_changed(&self, object: &Value, old: &Value) -> bool {
        let at = |object: &Value, path: &str| {
            path.split('.').fold(object.clone(), |value, key| value[key].clone())
        };
        self.generation_of.iter().any(|path| at(object, path) != at(old, path))
    }

    fn allow_create_on_update(&self) -> bool {
        self.create_on_update
    }

    fn allow_unconditional_update(&self) -> bool {
        self.unconditional_update
    }
}

/// Everything but status and metadata stays as it was.
pub(super) fn keep_all_but_status(object: &mut Value, old: &Value) {
    let (Some(new), Some(old)) = (object.as_object_mut(), old.as_object()) else { return };
    new.retain(|key, _| matches!(key.as_str(), "metadata" | "status" | "kind" | "apiVersion"));
    for (key, value) in old {
        if !matches!(key.as_str(), "metadata" | "status" | "kind" | "apiVersion") {
            new.insert(key.clone(), value.clone());
        }
    }
}
