//! Build, test and demo commands of this workspace.
