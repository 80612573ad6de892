//! Owns the rule that every package is developed with one set of features, so that the EC2 client is compiled once, and
//! that what ships has its own. Apart from the other rules about files, because cargo takes seconds to answer.
#![expect(clippy::expect_used, reason = "a test may stop at the first surprise")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::Command,
};

use ami_backup_contract::{assert_none, names_in, root, text};

/// The package that asks for the features of the whole workspace.
const UNIFIED: &str = "ami-backup-unified";
/// What is compiled for minutes.
const EC2: &str = "aws-sdk-ec2 ";

/// Each crate with its version and features, as cargo chooses them in the workspace at `root`.
fn tree(root: &Path, edges: &str, selection: &[&str]) -> BTreeSet<String> {
    let fixed = ["tree", "--offline", "--prefix", "none", "--format", "{p} [{f}]", "--edges", edges];
    let output =
        Command::new(env!("CARGO")).args(fixed).args(selection).current_dir(root).output().expect("cargo runs");
    assert!(output.status.success(), "{selection:?}: {}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).expect("UTF-8");
    // Of a package of the workspace cargo prints the folder, and of one that it has shown before a star.
    let crates = lines.lines().map(|line| line.trim_end_matches(" (*)").replace(" (proc-macro)", ""));
    crates.filter(|line| line.contains('[') && !line.contains('/')).collect()
}

/// The packages of a list of the workspace's manifest, one of those whose manifests differ in nothing but the name.
fn packages() -> Vec<String> {
    let manifest = text("Cargo.toml");
    let (_, members) = manifest.split_once("\nmembers = [").expect("members");
    let (members, _) = members.split_once(']').expect("the list ends");
    let of = |folder: &str| {
        let manifest = text(&format!("{folder}/Cargo.toml"));
        let line = manifest.lines().find_map(|line| line.strip_prefix("name = \"")).expect("a name");
        let name = line.trim_end_matches('"').to_owned();
        (manifest.replace(&name, "NAME"), name)
    };
    let distinct: BTreeMap<String, String> = members.split('"').skip(1).step_by(2).map(of).collect();
    distinct.into_values().collect()
}

#[test]
fn testing_one_package_compiles_no_client_that_the_workspace_has_compiled() {
    let everything = tree(&root(), "normal,build,dev", &["--workspace"]);
    assert_eq!(tree(&root(), "normal,build", &["--workspace"]).difference(&everything).next(), None, "a build of all");
    assert_none(packages().iter().flat_map(|package| {
        let alone = tree(&root(), "normal,build,dev", &["--package", package]);
        let calls_ec2 = alone.iter().any(|one| one.starts_with(EC2));
        let others: Vec<String> = alone.difference(&everything).cloned().collect();
        others.into_iter().filter(move |_| calls_ec2).map(move |one| format!("{package} alone has {one}"))
    }));
}

/// Lays the workspace into `copy` again, without the package that unifies features.
fn without_unified(folder: &Path, copy: &Path) {
    fs::create_dir_all(copy).expect("a folder");
    for entry in fs::read_dir(folder).expect("a folder") {
        let entry = entry.expect("an entry");
        let (name, from, to) = (entry.file_name(), entry.path(), copy.join(entry.file_name()));
        let name = name.to_string_lossy();
        if name == "Cargo.toml" {
            let manifest = fs::read_to_string(&from).expect("a manifest");
            let other = |line: &&str| !line.starts_with(UNIFIED) && !line.contains("\"tests/unified\"");
            fs::write(&to, manifest.lines().filter(other).map(|line| format!("{line}\n")).collect::<String>())
                .expect("written");
        } else if name == "Cargo.lock" {
            fs::copy(&from, &to).expect("copied");
        } else if ["crates", "functions", "local", "tests"].contains(&name.as_ref())
            || from.join("Cargo.toml").is_file()
        {
            without_unified(&from, &to);
        } else if !name.starts_with('.') && name != "target" {
            symlink(&from, &to).expect("a link");
        }
    }
}

#[test]
fn what_ships_is_built_with_its_own_features() {
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("without-unified");
    let _nothing_there = fs::remove_dir_all(&copy);
    without_unified(&root(), &copy);
    let shipped: BTreeSet<String> = names_in("functions").into_iter().collect();
    let functions: Vec<String> = packages().into_iter().filter(|package| shipped.contains(package)).collect();
    assert!(functions.len() > 1, "{functions:?}");
    for package in functions {
        let selection = ["--package", package.as_str()];
        let ships = tree(&root(), "normal,build", &selection);
        assert!(ships.iter().any(|one| one.starts_with(EC2)), "{package}: {ships:?}");
        assert_eq!(ships, tree(&copy, "normal,build", &selection), "{package}");
    }
    assert_ne!(tree(&root(), "normal,build", &["--workspace"]), tree(&copy, "normal,build", &["--workspace"]));
}
