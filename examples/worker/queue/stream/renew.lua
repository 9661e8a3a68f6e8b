-- Renews leases. KEYS: stream, then a record for each. ARGV: group, consumer, then entry and token for each.
local stream, group, consumer = KEYS[1], ARGV[1], ARGV[2]
local kept = {}
for i = 2, #KEYS do
  local entry, token = ARGV[2 * i - 1], ARGV[2 * i]
  local mine = redis.call('XPENDING', stream, group, entry, entry, 1)[1]
  if mine and mine[2] == consumer and redis.call('HGET', KEYS[i], 'token') == token then
    -- The entry was idle from now on; JUSTID counts no delivery.
    redis.call('XCLAIM', stream, group, consumer, 0, entry, 'JUSTID')
    kept[#kept + 1] = 1
  else
    kept[#kept + 1] = 0
  end
end
return kept
