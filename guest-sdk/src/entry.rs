//! A value in a list. One that came from the host is a handle until somebody asks what it is: asking is a call to the host,
//! and a value that is only handed on needs none.

use std::cell::{Cell, OnceCell};
use std::fmt;

use crate::bindings::nn::tensor::Tensor as Handle;
use crate::bindings::types;
use crate::{Bytes, Value};

/// One of the two is there.
pub(crate) struct Entry {
    unasked: Cell<Option<Handle>>,
    value: OnceCell<Value>,
}

impl Entry {
    pub(crate) fn get(&self) -> &Value {
        self.value.get_or_init(|| Value::from_handle(self.unasked.take().expect("what is no value yet is a handle")))
    }

    pub(crate) fn into_value(self) -> Value {
        match self.unasked.take() {
            Some(handle) => Value::from_handle(handle),
            None => self.value.into_inner().expect("what is no handle any more is a value"),
        }
    }

    /// As a graph takes it; BYTES, which no graph takes, come back.
    pub(crate) fn into_handle(self) -> Result<Handle, Bytes> {
        match self.unasked.take() {
            Some(handle) => Ok(handle),
            None => self.into_value().into_handle(),
        }
    }
}

impl From<Value> for Entry {
    fn from(value: Value) -> Self {
        Self { unasked: Cell::new(None), value: OnceCell::from(value) }
    }
}

impl From<Handle> for Entry {
    fn from(handle: Handle) -> Self {
        Self { unasked: Cell::new(Some(handle)), value: OnceCell::new() }
    }
}

impl From<types::Value> for Entry {
    fn from(value: types::Value) -> Self {
        match value {
            types::Value::Tensor(handle) => handle.into(),
            types::Value::Bytes(bytes) => Value::Bytes(bytes.into()).into(),
        }
    }
}

impl From<Entry> for types::Value {
    fn from(entry: Entry) -> Self {
        match entry.into_handle() {
            Ok(handle) => Self::Tensor(handle),
            Err(bytes) => Self::Bytes(bytes.into()),
        }
    }
}

impl Clone for Entry {
    fn clone(&self) -> Self {
        self.get().clone().into()
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}
