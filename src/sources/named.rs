//! A queue that is only a name: of a source that lives in the process that reads it.

use super::Plan;

/// A queue of that name, on a connection that knows the rest.
#[derive(Debug)]
pub struct Named(pub String);

impl Plan for Named {
    fn queue(&self) -> String {
        format!("queue {}", self.0)
    }

    fn name(&self) -> String {
        self.0.clone()
    }

    fn names(&self) -> Vec<&str> {
        vec![&self.0]
    }

    fn shows_running(&self) -> bool {
        true
    }

    fn commands(&self) -> Vec<String> {
        Vec::new()
    }
}
