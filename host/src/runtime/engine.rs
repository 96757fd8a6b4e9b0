//! wasmtime's engines, and the clock that interrupts endless loops.

use std::time::Duration;

use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

/// Length of an epoch: how long a guest may hold a tokio thread before it must yield.
const TICK: Duration = Duration::from_millis(10);

/// Instances that can exist at once in the process.
pub(super) const MAX_INSTANCES: u32 = 2000;

/// Slots that are kept for the components that had them last, at most.
const MAX_WARM_SLOTS: u32 = 16;

/// What an engine's components can do at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Calls {
    /// One call of an instance at a time, all that comes before WASI 0.3: each costs half as much.
    Single,
    /// Several, by the component model's async functions.
    Concurrent,
}

/// Creates an engine, with pooled instance slots where the machine's address space has room for them.
pub fn create(calls: Calls) -> wasmtime::Result<Engine> {
    let engine = match Engine::new(&config(calls, true)) {
        Ok(engine) => engine,
        Err(error) => {
            // Small boards have 39-bit address spaces, where the reservation fails; everything works without it, slower.
            tracing::warn!(%error, "no pooled instances: allocating each on demand");
            Engine::new(&config(calls, false))?
        }
    };
    let weak = engine.weak();
    std::thread::Builder::new().name("epoch".into()).spawn(move || {
        // Ends with the engine.
        loop {
            std::thread::sleep(TICK);
            match weak.upgrade() {
                Some(engine) => engine.increment_epoch(),
                None => return,
            }
        }
    })?;
    Ok(engine)
}

fn config(calls: Calls, pooled: bool) -> Config {
    let concurrent = calls == Calls::Concurrent;
    let mut config = Config::new();
    config.epoch_interruption(true).memory_init_cow(true).wasm_component_model(true);
    config.wasm_component_model_async(concurrent).concurrency_support(concurrent);
    if pooled {
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pooling()));
    }
    config
}

fn pooling() -> PoolingAllocationConfig {
    let mut pooling = PoolingAllocationConfig::new();
    pooling
        .total_component_instances(MAX_INSTANCES)
        // A component has a few core instances: the program, adapters, shims.
        .total_core_instances(MAX_INSTANCES * 6)
        .total_memories(MAX_INSTANCES * 2)
        .total_tables(MAX_INSTANCES * 4)
        // One that serves several requests may have begun one and be beginning another.
        .total_stacks(MAX_INSTANCES * 2)
        .max_memories_per_component(4)
        .max_tables_per_component(16)
        .table_elements(100_000)
        .max_component_instance_size(4 << 20)
        .max_core_instance_size(4 << 20)
        // Slots that nobody uses keep pages of whom had them last, even after that component has gone.
        .max_unused_warm_slots(MAX_WARM_SLOTS)
        // Pages kept between instances and the kernel's list of dirty ones: a fresh instance costs half.
        .linear_memory_keep_resident(1 << 20)
        .table_keep_resident(64 << 10)
        .pagemap_scan(Enabled::Auto);
    pooling
}
