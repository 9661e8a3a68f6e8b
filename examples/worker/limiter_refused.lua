-- Decides whether a refusal because of a rate concerns all requests, or only the one that was refused.
--
-- A request may be refused again while others had answers in between and no other was refused for the first
-- time. Then the refusal concerns it alone. Where the provider names a time, such a sequence is likelier to be
-- chance, so it takes five answers. After its first refusal a request alone tries again soon, and the result
-- decides. Two requests a minute get that try, or one if the provider names a time; at the next refusal all
-- requests pause.
--
-- A pause is a few seconds at most, and ends no sooner than the provider says. It is twice as long as the last
-- one if that was less than a minute ago. A request that is refused during a pause was sent before it, and does
-- not extend it.
-- KEYS: the pace of one worker scope, the hash of the limit, the requests of the scope that were refused: when, after how
-- many answers, and how many chances in a row they had.
-- ARGV: microseconds of a minute, of the shortest pause, and of the longest; the name of the request; 'unknown'
-- if the provider named no end, 'named' if it did, or 'certain' if the refusal concerns all because nothing is
-- left; 1 if the request tried whether a block is over.
-- Answers who waits: 'all', 'alone', or 'first' if only the request itself does until more is known; and until when, in
-- milliseconds.
local minute, shortest, longest = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local name, is_named, is_certain, is_trial = ARGV[4], ARGV[5] ~= 'unknown', ARGV[5] == 'certain', ARGV[6] == '1'
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local said =
  redis.call('HMGET', KEYS[1], 'pause', 'pause_ends', 'answers', 'first_refused', 'first_before')
local number = function(index) return tonumber(said[index] or '') or 0 end
local text = function(moment) return string.format('%.0f', moment) end
local until_ms = function(moment) return math.ceil(moment / 1000) end
local pause, ends, answers, first, before = number(1), number(2), number(3), number(4), number(5)
local earlier = redis.call('HGET', KEYS[3], name) or ''
local last, count, chances = string.match(earlier, '^(%d+) (%d+) (%d+)$')
local is_new, is_alone, chance = not last, false, 0
if is_new then
  redis.call('HSET', KEYS[1], 'first_refused', text(now), 'first_before', text(first))
  -- At most one other request was refused in the last minute, and none where the provider says when to come again.
  chance = (is_named and first or before) <= now - minute and 1 or 0
elseif first <= tonumber(last) then
  is_alone = answers - tonumber(count) >= (is_named and 5 or 1)
  -- No other request has an answer yet, and none is refused.
  chance = tonumber(chances) > 0 and tonumber(chances) + 1 or 0
end
if is_certain or is_trial or now < ends then
  chance = 0
end
if redis.call('HLEN', KEYS[3]) >= 1000 then
  redis.call('DEL', KEYS[3])
end
redis.call('HSET', KEYS[3], name, text(now) .. ' ' .. text(answers) .. ' ' .. text(chance))
local kept = math.ceil(minute / 1000 * 3)
redis.call('PEXPIRE', KEYS[1], kept)
redis.call('PEXPIRE', KEYS[3], kept)
if is_alone then
  return {'alone', until_ms(now + shortest)}
end
if chance > 0 then
  return {'first', until_ms(now + math.min(shortest * 2 ^ (chance - 1), longest))}
end
if ends <= now then
  pause = now < ends + minute and math.min(pause * 2, longest) or shortest
  ends = now + pause
  redis.call('HSET', KEYS[1], 'pause', text(pause), 'pause_ends', text(ends))
end
if not is_named then
  -- In the same script, so that no request starts between the end of the last pause and this one.
  local block = redis.call('HMGET', KEYS[2], 'blocked_ms', 'blocked_seen')
  local stands, seen = tonumber(block[1] or '') or 0, tonumber(block[2] or '')
  local now_ms, guess = text(math.floor(now / 1000)), text(until_ms(ends))
  if stands <= until_ms(ends) or seen and seen + 300000 <= now / 1000 then
    redis.call('HSET', KEYS[2], 'blocked_ms', guess, 'why', 'rate', 'blocked_seen', now_ms, 'guess_ms', guess)
  end
  redis.call('HDEL', KEYS[2], 'trial_ms')
  if redis.call('TTL', KEYS[2]) < 86400 then
    redis.call('EXPIRE', KEYS[2], 86400)
  end
end
return {'all', until_ms(ends)}
