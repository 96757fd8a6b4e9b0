//! The host in this process, through its HTTP interface: a file per resource.

mod infer;
