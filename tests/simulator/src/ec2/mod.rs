//! Answers EC2's query protocol from the world.

use std::sync::Arc;

use http::Response;

use crate::calls::CallLog;
use crate::edge::Caller;
use crate::objects::ObjectStore;
use crate::permissions::Permissions;
use crate::world::World;

/// The body of a response.
pub type Body = Vec<u8>;

/// What came of a call: `ok` or the error code. Each response carries it as an extension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome(pub String);

/// The simulated EC2.
#[derive(Debug, Clone)]
pub struct Ec2 {
    world: Arc<World>,
    objects: Arc<dyn ObjectStore>,
    permissions: Arc<Permissions>,
    calls: Arc<CallLog>,
}

impl Ec2 {
    /// An EC2 over `world` that stores its objects in `objects`, and writes implied actions to `calls`.
    pub fn new(
        world: Arc<World>,
        objects: Arc<dyn ObjectStore>,
        permissions: Arc<Permissions>,
        calls: Arc<CallLog>,
    ) -> Self {
        Self { world, objects, permissions, calls }
    }

    /// Answers one call. The response has [`Outcome`] among its extensions.
    pub async fn call(&self, _caller: &Caller, _parameters: &[(String, String)]) -> Response<Body> {
        Response::new(Vec::new())
    }
}

/// The error document of EC2 with the status that goes with the code, for calls that never reach the world.
pub fn refusal(_code: &str, _message: &str, _status: Option<u16>) -> Response<Body> {
    Response::new(Vec::new())
}
