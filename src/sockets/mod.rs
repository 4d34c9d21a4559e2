//! Sockets: accepting connections, their options, and the file descriptors that they take.
//!
//! Invariants: the connections of one port never take the last descriptors, and a port with less than its share of
//! them still accepts; a warning about missing descriptors is logged at most once a second.

mod descriptors;
mod inherited;
mod listener;
mod once_per_second;
mod options;

pub use descriptors::{
    DescriptorShare, are_descriptors_used_up, is_out_of_resources, raise_descriptor_limit, warn_used_up,
};
pub use inherited::InheritedSockets;
pub use listener::{PortListener, RefusalLog};
pub use once_per_second::OncePerSecond;
pub use options::set_options;
