//! Amounts of resources for people: `1.5` cores, `512Mi`.

use super::report::Amount;
use crate::cache::Resource;
use objects::resources::Resources;

const KIB: i64 = 1 << 10;
const UNITS: [(i64, &str); 4] = [(1 << 40, "Ti"), (1 << 30, "Gi"), (1 << 20, "Mi"), (KIB, "Ki")];

/// The resources that a pod or a node names, in a fixed order; not the number of pods.
pub fn named(resources: &Resources) -> Vec<Resource> {
    let mut named = Vec::new();
    for resource in [Resource::Cpu, Resource::Memory, Resource::Ephemeral] {
        if resource.of(resources) != 0 {
            named.push(resource);
        }
    }
    let scalars = resources.scalars.iter().filter(|(_, amount)| **amount != 0);
    named.extend(scalars.map(|(name, _)| Resource::Scalar(name.clone())));
    named
}

/// The name as it stands in `requests`.
pub fn name(resource: &Resource) -> &str {
    match resource {
        Resource::Cpu => "cpu",
        Resource::Memory => "memory",
        Resource::Ephemeral => "ephemeral-storage",
        Resource::Scalar(name) => name,
    }
}

/// `4`, `1.5`, `0.25` cores; `512Mi`; plain units of anything else. As a quantity it means nearly the same.
pub fn text(resource: &Resource, value: i64) -> String {
    match resource {
        Resource::Cpu => decimal(value, 1000),
        Resource::Memory | Resource::Ephemeral => bytes(value),
        Resource::Scalar(name) if name.starts_with("hugepages-") => bytes(value),
        Resource::Scalar(_) => value.to_string(),
    }
}

/// An amount with its text.
pub fn amount(resource: &Resource, value: i64) -> Amount {
    Amount { resource: name(resource).to_owned(), text: text(resource, value), value }
}

/// Lowers an amount to one that people would write: whole MiB, whole thousandths.
pub fn round_down(resource: &Resource, value: i64) -> i64 {
    match resource {
        Resource::Memory | Resource::Ephemeral if value > (1 << 20) => value >> 20 << 20,
        _ => value,
    }
}

fn bytes(value: i64) -> String {
    let unit = UNITS.into_iter().find(|(size, _)| value.abs() >= *size);
    let Some((size, unit)) = unit else { return value.to_string() };
    if value % size == 0 {
        return format!("{}{unit}", value / size);
    }
    // A tenth of a unit is enough to tell; whole smaller units are exact.
    match UNITS.into_iter().find(|(smaller, _)| value % smaller == 0) {
        Some((smaller, name)) if value / smaller < 10_000 => format!("{}{name}", value / smaller),
        _ => format!("{:.1}{unit}", value as f64 / size as f64),
    }
}

fn decimal(value: i64, one: i64) -> String {
    let text = format!("{}{}.{:03}", if value < 0 { "-" } else { "" }, value.abs() / one, value.abs() % one);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_like_a_quantity() {
        for (resource, value, want) in [
            (Resource::Cpu, 4000, "4"),
            (Resource::Cpu, 1500, "1.5"),
            (Resource::Cpu, 50, "0.05"),
            (Resource::Cpu, 0, "0"),
            (Resource::Cpu, -250, "-0.25"),
            (Resource::Memory, 512 << 20, "512Mi"),
            (Resource::Memory, 2 << 30, "2Gi"),
            (Resource::Memory, 1536 << 20, "1536Mi"),
            (Resource::Memory, (3 << 30) + 1, "3.0Gi"),
            (Resource::Memory, 100, "100"),
            (Resource::Scalar("example.com/gpu".into()), 2, "2"),
            (Resource::Scalar("hugepages-2Mi".into()), 4 << 20, "4Mi"),
        ] {
            assert_eq!(text(&resource, value), want);
        }
        assert_eq!(round_down(&Resource::Memory, (5 << 20) + 7), 5 << 20);
        assert_eq!(round_down(&Resource::Cpu, 1501), 1501);
    }
}
