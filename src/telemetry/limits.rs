//! What a rate limit leaves to a trigger, and the limit itself, as `/decisions` and the metrics show them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::engine::limit::Block;
use crate::engine::limit::share::{Bound, Cap, DimensionState, LimitState, Share};
use crate::engine::signals::Quality;
use crate::telemetry::shown::short;
use crate::text::Printable;
use crate::timestamp::Timestamp;

/// A limit as one of its triggers sees it. Programs read it: fields are added, and not renamed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShownLimit {
    /// The limit's name.
    pub name: String,
    /// What it leaves to the trigger; null if it sets no cap.
    pub cap: Option<ShownCap>,
    /// Why it sets no cap, if it does not.
    pub no_cap: Option<String>,
    /// Until when the provider refuses everything (RFC 3339), if it does.
    pub blocked_until: Option<String>,
    /// Why it does.
    pub blocked_by: Option<String>,
    /// k, the part of the limit that the provider really admits, by the reports of the trigger's namespace.
    pub k: f64,
    /// Whether all its workers keep to their share by themselves.
    pub paced: bool,
    /// Tasks a minute that it admits, for the tasks that all its triggers run now.
    pub admissible_tasks_per_minute: Option<f64>,
    /// Its dimensions.
    pub dimensions: Vec<ShownDimension>,
    /// Requests that workers report as admitted, over the minutes that they keep.
    pub requests: u64,
    /// Requests that they report as refused.
    pub refused: u64,
    /// What a gateway's gauges tell of it, or why they do not; null where none is asked.
    #[serde(default)]
    pub headroom: Option<String>,
}

/// What a limit leaves to one trigger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShownCap {
    /// Most replicas that it feeds.
    pub replicas: u32,
    /// Replicas of the trigger's part by weight.
    pub fair: u32,
    /// Slots that it feeds.
    pub slots: f64,
    /// The dimension of which the trigger uses the largest part.
    pub dimension: String,
    /// What one slot uses of it, a minute.
    pub per_slot: f64,
    /// Whether that was not measured, but taken from others or from the configuration.
    pub estimated: bool,
    /// Whether nobody may grow beyond their part, because so little is left.
    pub scarce: bool,
}

/// One dimension of a limit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShownDimension {
    /// Its name.
    pub name: String,
    /// The whole limit.
    pub limit: f64,
    /// Use by others, a minute.
    pub others: f64,
    /// What there is to divide.
    pub room: f64,
    /// Own use in the last complete minute.
    pub used: Option<f64>,
    /// All use as a part of the limit.
    pub saturation: Option<f64>,
}

impl ShownLimit {
    pub(super) fn of(share: &Share, state: &LimitState, now: Timestamp) -> Self {
        let Share { limit, blocked: _, bound, full: _ } = share;
        let LimitState { k, paced, dimensions, blocked, admits, total, gateway } = state;
        let (cap, no_cap, own_k) = match bound {
            Bound::At(cap) => (Some(ShownCap::from(cap)), None, Some(cap.k)),
            Bound::Open(cause) => (None, Some(cause.to_string()), None),
        };
        let blocked = blocked.filter(|block: &Block| block.until > now);
        Self {
            name: limit.to_string(),
            cap,
            no_cap,
            blocked_until: blocked.map(|block| block.until.to_string()),
            blocked_by: blocked.map(|block| block.why.label().to_owned()),
            k: own_k.unwrap_or(*k),
            paced: *paced,
            admissible_tasks_per_minute: *admits,
            dimensions: dimensions.iter().map(ShownDimension::from).collect(),
            requests: total.used.requests,
            refused: total.refused,
            headroom: gateway.clone(),
        }
    }
}

impl From<&Cap> for ShownCap {
    fn from(cap: &Cap) -> Self {
        let Cap { replicas, fair, slots, dimension, per_slot, quality, scarce, .. } = cap;
        Self {
            replicas: *replicas,
            fair: *fair,
            slots: *slots,
            dimension: dimension.label().to_owned(),
            per_slot: *per_slot,
            estimated: *quality == Quality::Estimated,
            scarce: *scarce,
        }
    }
}

impl From<&DimensionState> for ShownDimension {
    fn from(state: &DimensionState) -> Self {
        let DimensionState { dimension, amount, others, room, used } = *state;
        let (name, saturation) = (dimension.label().to_owned(), state.saturation());
        Self { name, limit: amount, others, room, used, saturation }
    }
}

impl fmt::Display for ShownLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            cap,
            no_cap,
            blocked_until,
            blocked_by,
            k,
            dimensions,
            requests,
            refused,
            headroom,
            ..
        } = self;
        write!(f, "  limit {}: k {}", Printable(name), short(*k))?;
        if let Some(ShownCap { replicas, fair, slots, dimension, per_slot, estimated, scarce }) = cap {
            let (slots, per_slot) = (short(*slots), short(*per_slot));
            let about = if *estimated { "about " } else { "" };
            write!(
                f,
                ", {slots} slots = {replicas} replicas (its part {fair}), {about}{per_slot} {} a slot",
                Printable(dimension)
            )?;
            f.write_str(if *scarce { ", scarce" } else { "" })?;
        }
        no_cap.iter().try_for_each(|cause| write!(f, ", no cap: {}", Printable(cause)))?;
        if let (Some(until), Some(by)) = (blocked_until, blocked_by) {
            write!(f, ", blocked by {} until {}", Printable(by), Printable(until))?;
        }
        writeln!(f)?;
        for ShownDimension { name, limit, others, room, used, saturation } in dimensions {
            let (limit, others, room) = (short(*limit), short(*others), short(*room));
            write!(f, "    {}: {room} of {limit} to divide, others use {others}", Printable(name))?;
            used.iter().try_for_each(|used| write!(f, ", we {}", short(*used)))?;
            saturation.iter().try_for_each(|part| write!(f, " ({:.0} %)", part * 100.0))?;
            writeln!(f)?;
        }
        headroom.iter().try_for_each(|told| writeln!(f, "    {}", Printable(told)))?;
        writeln!(f, "    {requests} requests admitted and {refused} refused in the minutes that workers keep")
    }
}
