//! The limit of open files, raised. A test binary of its own: the limit is the process's.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use service_runtime::raise_descriptor_limit;

// spec: DOOR-12
#[test]
fn the_soft_limit_becomes_the_hard_one() {
    let limit = Rlimit {
        current: Some(100),
        maximum: Some(200),
    };
    setrlimit(Resource::Nofile, limit).unwrap();
    assert_eq!(raise_descriptor_limit(), 200);
    assert_eq!(getrlimit(Resource::Nofile).current, Some(200));
    assert_eq!(raise_descriptor_limit(), 200);
}
