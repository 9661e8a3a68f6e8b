-- When the task that is taken next from a list was put in (unix ms). Read here, so that its prompt stays here.
local message = redis.call('LINDEX', KEYS[1], -1)
local sound, task = pcall(cjson.decode, message or '')
return sound and type(task) == 'table' and tonumber(task.enqueued_ms) or false
