-- Puts elements back that nobody holds. KEYS: processing list, queue, leases, then a record for each. ARGV: for each
-- the element, its task, and 1 if it has been without a holder for long enough.
-- Answers for each: 0 it is held, 1 it was put back, 2 nobody has begun it.
local processing, queue, leases = KEYS[1], KEYS[2], KEYS[3]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local verdicts = {}
for i = 4, #KEYS do
  local element, task, is_old = ARGV[3 * i - 11], ARGV[3 * i - 10], ARGV[3 * i - 9]
  local seen = redis.call('HMGET', KEYS[i], 'token', 'worker')
  local lease = (seen[2] or '') .. '/' .. task
  local until_ms = seen[1] and redis.call('ZSCORE', leases, lease)
  local verdict = 0
  if not (until_ms and tonumber(until_ms) > now) then
    if seen[1] or is_old == '1' then
      verdict = 1
      redis.call('ZREM', leases, lease)
      redis.call('HDEL', KEYS[i], 'token', 'worker')
      if redis.call('LREM', processing, 1, element) == 1 then
        redis.call('RPUSH', queue, element)
      end
    else
      verdict = 2
    end
  end
  verdicts[#verdicts + 1] = verdict
end
return verdicts
