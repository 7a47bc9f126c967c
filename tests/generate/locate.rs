//! Where cargo unpacked the crates whose source text is read.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

pub(crate) struct Crates {
    pub workspace: PathBuf,
    pub k8s_openapi: PathBuf,
    pub k8s_pb: PathBuf,
}

pub(crate) fn crates() -> Result<Crates> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // Crates of other platforms are not on this disk, and offline cargo stops where one is missing.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(cargo)
        .args(["metadata", "--format-version=1", "--offline", "--filter-platform", &platform])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .context("running cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata prints JSON")?;
    Ok(Crates {
        workspace: metadata["workspace_root"].as_str().context("a workspace root")?.into(),
        k8s_openapi: source_of(&metadata, "k8s-openapi")?,
        k8s_pb: source_of(&metadata, "k8s-pb")?,
    })
}

fn source_of(metadata: &Value, name: &str) -> Result<PathBuf> {
    let packages = metadata["packages"].as_array().context("a list of packages")?;
    let package = packages.iter().find(|package| package["name"] == name);
    let manifest = package.and_then(|package| package["manifest_path"].as_str());
    let manifest = manifest.with_context(|| format!("{name} is not in the dependency graph"))?;
    Ok(Path::new(manifest).parent().context("a manifest has a folder")?.join("src"))
}

/// Every file below `folder` whose name ends in `.rs`, in a fixed order.
pub(crate) fn rust_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}
