//! pool-managerd

fn main() {}
