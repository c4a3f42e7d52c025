//! What every daemon needs around its work: signals, a shutdown token, named joined tasks and readiness latches.
