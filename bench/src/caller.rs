//! A client of a target, in the protocol of its requests.

use bytes::Bytes;

use crate::answer::Answer;
use crate::client::Connection;
use crate::compare::Target;
use crate::grpc;
use crate::payload::Form;

/// What client and server speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Rest(Form),
    /// Messages with raw tensors.
    Grpc,
}

/// A connection that stays open.
pub(crate) enum Caller {
    Rest(Connection),
    Grpc(grpc::Connection),
}

impl Caller {
    pub(crate) async fn open(target: &Target) -> anyhow::Result<Self> {
        Ok(match target.protocol {
            Protocol::Rest(_) => Self::Rest(Connection::open(target.address).await?),
            Protocol::Grpc => Self::Grpc(grpc::Connection::open(target.address).await?),
        })
    }

    /// Asks, and looks at no more of the answer than it must.
    pub(crate) async fn ask(&mut self, request: &Bytes) -> anyhow::Result<()> {
        match self {
            Self::Rest(connection) => connection.ask(request).await.map(drop),
            Self::Grpc(connection) => connection.ask(request).await.map(drop),
        }
    }

    /// Asks, and reads the answer.
    pub(crate) async fn answer(&mut self, request: &Bytes) -> anyhow::Result<Answer> {
        match self {
            Self::Rest(connection) => Answer::read(&connection.ask(request).await?),
            Self::Grpc(connection) => Answer::read_message(&connection.ask(request).await?),
        }
    }
}
