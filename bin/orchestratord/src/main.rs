//! orchestratord

fn main() {}
