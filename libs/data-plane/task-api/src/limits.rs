//! The limits of tasks, for the documents.

use pool_registry_types::limits::Limit;

use crate::{
    config::TaskConfig,
    request::MAX_DEADLINE,
    routes::TASK_BODY_BYTES,
    run::{MAX_ERROR_BYTES, MAX_EVENT_BYTES},
};

const DEFAULTS: TaskConfig = TaskConfig::DEFAULT;

/// All limits.
pub const LIMITS: &[Limit] = &[
    Limit::new("TASK_BODY_BYTES", TASK_BODY_BYTES as u64, "bytes")
        .because("The body of a new task.")
        .enforced_by("POST /v2/tasks")
        .beyond("413 PAYLOAD_TOO_LARGE"),
    Limit::time("MAX_DEADLINE", MAX_DEADLINE)
        .because("The deadline of a task; one beyond a day is most likely a wrong unit.")
        .enforced_by("POST /v2/tasks")
        .beyond("400 INVALID_REQUEST"),
    Limit::new("TaskConfig::max_tasks", DEFAULTS.max_tasks as u64, "tasks")
        .because("Known tasks, ended ones included.")
        .enforced_by("POST /v2/tasks")
        .beyond("an ended one is forgotten; without one, 429 QUEUE_FULL"),
    Limit::new("TaskConfig::max_bytes", DEFAULTS.max_bytes as u64, "bytes")
        .because("Requests and events of all tasks in memory.")
        .enforced_by("POST /v2/tasks")
        .beyond("an ended one is forgotten; without one, 429 QUEUE_FULL"),
    Limit::new(
        "TaskConfig::max_task_bytes",
        DEFAULTS.max_task_bytes as u64,
        "bytes",
    )
    .because("Events of one task.")
    .enforced_by("task-api")
    .beyond("the task ends with an error"),
    Limit::time("TaskConfig::max_age", DEFAULTS.max_age)
        .because("How long a task is kept after its end.")
        .enforced_by("task-api")
        .beyond("404 NOT_FOUND"),
    Limit::time("TaskConfig::max_wait", DEFAULTS.max_wait)
        .because("The wait of a task for a slot.")
        .enforced_by("task-api")
        .beyond("the task ends with an error"),
    Limit::time("TaskConfig::max_duration", DEFAULTS.max_duration)
        .because("The duration of a task without a deadline.")
        .enforced_by("task-api")
        .beyond("the task ends with an error"),
    Limit::new("MAX_EVENT_BYTES", MAX_EVENT_BYTES as u64, "bytes")
        .because("One event of the engine's response.")
        .enforced_by("task-api")
        .beyond("the task ends with an error"),
    Limit::new("MAX_ERROR_BYTES", MAX_ERROR_BYTES as u64, "bytes")
        .because("The part of an error response that is read.")
        .enforced_by("task-api")
        .beyond("the rest is not read"),
];
