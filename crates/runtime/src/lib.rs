//! The frame of every function, and the only crate that names `lambda_runtime`: reads the input,
//! calls, logs once, and names the error.

mod answer;
mod log;
mod serve;
mod settings;

pub use answer::answer;
pub use lambda_runtime::Error;
pub use serve::serve;
pub use settings::settings;
