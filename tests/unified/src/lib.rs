//! Nothing. A package that has this one as a dev-dependency builds, for its tests, every crate of others with the features
//! that the whole workspace asks for: `cargo test -p start-store` then finds the EC2 client as `cargo build --workspace`
//! left it. Dev-dependencies do not reach what ships; a contract test holds both.
