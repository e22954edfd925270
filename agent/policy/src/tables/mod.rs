//! The kernel's tables as user space knows them: which ids mean what, and how much room there is.

mod mirror;

pub use mirror::{Judgement, Mirror};

use std::fmt;

/// A table of the kernel that can be full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Addresses of pods, IPv4.
    Addresses4,
    /// Addresses of pods, IPv6.
    Addresses6,
    /// Groups of pods.
    Groups,
    /// Blocks and exceptions, IPv4.
    Blocks4,
    /// Blocks and exceptions, IPv6.
    Blocks6,
    /// Rows of policies by class.
    ClassRows,
    /// Rows.
    Rows,
    /// Rules of rows by port class.
    RowPorts,
    /// Port classes of one protocol.
    PortClasses,
}

impl Table {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Addresses4,
        Self::Addresses6,
        Self::Groups,
        Self::Blocks4,
        Self::Blocks6,
        Self::ClassRows,
        Self::Rows,
        Self::RowPorts,
        Self::PortClasses,
    ];

    /// The value of the `table` label of metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Addresses4 => "addresses4",
            Self::Addresses6 => "addresses6",
            Self::Groups => "groups",
            Self::Blocks4 => "blocks4",
            Self::Blocks6 => "blocks6",
            Self::ClassRows => "class_rows",
            Self::Rows => "rows",
            Self::RowPorts => "row_ports",
            Self::PortClasses => "port_classes",
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How many entries each table of the kernel has room for. Arrays count their index 0, which is never used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Addresses of pods, IPv4.
    pub addresses4: u32,
    /// Addresses of pods, IPv6.
    pub addresses6: u32,
    /// Groups, an array.
    pub groups: u32,
    /// Blocks and exceptions, IPv4.
    pub blocks4: u32,
    /// Blocks and exceptions, IPv6.
    pub blocks6: u32,
    /// Rows of policies by class.
    pub class_rows: u32,
    /// Rows, an array.
    pub rows: u32,
    /// Rules of rows by port class.
    pub row_ports: u32,
    /// Port classes of each protocol, at most 65,536, an index 0 included.
    pub port_classes: u32,
}

impl Limits {
    /// The room in a table.
    #[must_use]
    pub const fn of(&self, table: Table) -> u32 {
        match table {
            Table::Addresses4 => self.addresses4,
            Table::Addresses6 => self.addresses6,
            Table::Groups => self.groups,
            Table::Blocks4 => self.blocks4,
            Table::Blocks6 => self.blocks6,
            Table::ClassRows => self.class_rows,
            Table::Rows => self.rows,
            Table::RowPorts => self.row_ports,
            Table::PortClasses => self.port_classes,
        }
    }
}

/// How full a table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The table.
    pub table: Table,
    /// Entries in use.
    pub used: u32,
    /// Entries it has room for.
    pub capacity: u32,
}
