//! Nocti: a host for serverless WebAssembly model functions. The modules in reading order.

pub mod app;
pub mod cli;
pub mod config;

pub mod grpc;
pub mod http;
pub mod listener;
pub mod protocol;

pub mod api;
pub mod collect;
pub mod deploy;
pub mod fault;
pub mod follow;
pub mod invoke;
pub mod oip;
pub mod rollout;

pub mod admit;
pub mod host;
pub mod lifecycle;
pub mod shadow;

pub mod registry;
pub mod runtime;

pub mod nn;

pub mod logs;

pub mod cache;
pub mod compression;
pub mod deadline;
pub mod destination;
pub mod elsewhere;
pub mod progress;
pub mod stamp;
pub mod telemetry;
pub mod tensor;
pub mod trace;
