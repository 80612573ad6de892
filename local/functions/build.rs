//! Lists the functions: every folder of `functions/` is one, and a line of this package's dependencies.

#![expect(clippy::expect_used, reason = "how a build script fails")]

use std::{fs, path::Path};

fn main() {
    let functions = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../functions");
    println!("cargo::rerun-if-changed={}", functions.display());
    let folders = fs::read_dir(&functions).expect("functions/ is there");
    let mut names: Vec<String> =
        folders.map(|folder| folder.expect("an entry").file_name().into_string().expect("a name in UTF-8")).collect();
    names.sort();
    let lines = names.iter().map(|name| format!("    {name:?} => {},\n", name.replace('-', "_")));
    let list = format!("functions! {{\n{}}}\n", lines.collect::<String>());
    #[expect(clippy::disallowed_methods, reason = "how cargo tells a build script where to write")]
    let out = std::env::var("OUT_DIR").expect("cargo sets it");
    fs::write(Path::new(&out).join("functions.rs"), list).expect("the list is written");
}
