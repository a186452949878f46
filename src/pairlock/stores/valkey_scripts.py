"""What the server is asked: each call is one Lua script, which nothing else comes between.

All keys begin with `{prefix}:`, so that those of one service lie in one hash slot:

    schema                            the version of this layout; without it nothing else is read or written
    place                             random: whoever follows another than before follows another history
    request:ID, device:ID, setting:ID hashes: v version, d data, x expires_at, c code digest, n name_key, s seen_at
    code:DIGEST                       the id of the request with this code
    live, paired, names               sorted by bytes: ids of live requests, of paired devices, and their name keys
    due                               sorted by when it may be purged: request:ID, ..., event:SEQ, counter:KEY
    events, seq                       the stream of events, and the number of the last one
    counter:KEY                       hash: n how often, r when the count begins anew
    done:ID                           the answer to a call that may be made twice, for a minute

Times are doubles, which Lua would print with 14 digits: they come and go as text. The script of a key that has a
time to be purged lets the server drop it by itself a day later.

A script that has been released may be changed, as long as those of older versions can run beside it.
"""

import hashlib

LAYOUT = "1"
LEAST_VERSION = (6, 2)  # GETEX, and ranges that leave out their ends
REMEMBERED = 60_000  # milliseconds in which a call that is made again is known
SLACK = 86_400_000  # milliseconds; until the server drops by itself what should have been purged
COUNTER_SLACK = 3_600_000  # the same for counters, of which strangers make many


class Script:
    """A text, and the digest by which the server knows it."""

    def __init__(self, *parts: str) -> None:
        self.text = "".join(parts)
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


# GETEX with PERSIST changes nothing here; but a replica refuses it, as does a primary that is cut off from its
# replicas: their data may be behind. A server that only cannot write to its disk may be read.
CURRENT = """
local kept = redis.pcall('GETEX', KEYS[1], 'PERSIST')
if type(kept) == 'table' and string.find(kept.err, 'MISCONF', 1, true) then kept = redis.call('GET', KEYS[1]) end
if type(kept) == 'table' then return redis.error_reply(string.match(kept.err, '%u%u%u%u+ .*') or kept.err) end
"""
OF_THIS_VERSION = f"""
if kept ~= '{LAYOUT}' then return redis.error_reply('SCHEMA the data is gone, or of another version') end
"""
READING = CURRENT + OF_THIS_VERSION
# The first command that writes must be one that a full server refuses: after it, all that follow are let through.
WRITING = "local kept = redis.call('GET', KEYS[1])" + OF_THIS_VERSION

# KEYS: schema, seq, events, due, live, paired, names, place; ARGV: the least version, a new place
PREPARE = Script(
    f"""
local function is_free()
  for i = 2, #KEYS - 1 do
    if redis.call('EXISTS', KEYS[i]) == 1 then return false end
  end
  return true
end

local info = redis.pcall('INFO')
if type(info) == 'table' then info = '' end
local major, minor = string.match(info, 'redis_version:(%d+)%.(%d+)')
if major and tonumber(major) * 100 + tonumber(minor) < tonumber(ARGV[1]) then return {{'', info}} end
local schema = redis.call('GET', KEYS[1])
if schema then
  redis.call('GETEX', KEYS[1], 'PERSIST')
elseif is_free() then
  local time = redis.call('TIME')
  schema = '{LAYOUT}'
  redis.call('SET', KEYS[1], schema)
  redis.call('SET', KEYS[2], string.format('%.0f', time[1] * 1000000 + time[2]))
  redis.call('SET', KEYS[#KEYS], ARGV[2])
end
return {{schema or '', info}}
"""
)

# KEYS: schema
CHECK = Script(CURRENT, "return kept")

# KEYS: schema, done, seq, events, due, live, paired, names; then the key of each record and that of its code
# ARGV: the beginning of all keys; then the words of each write
COMMIT = Script(
    WRITING,
    f"""
if redis.call('EXISTS', KEYS[2]) == 1 then return 1 end
local seq_key, events_key, due_key, names_key = KEYS[3], KEYS[4], KEYS[5], KEYS[8]
local lists = {{request = KEYS[6], device = KEYS[7]}}
local key, word = 8, 1
local function next_key() key = key + 1 return KEYS[key] end
local function next_word() word = word + 1 return ARGV[word] end

local function next_record(verb)
  local record = {{is_new = verb == 'add', key = next_key()}}
  record.kind, record.id = next_word(), next_word()
  record.before, record.version, record.data = next_word(), next_word(), next_word()
  record.purge_at, record.drop_at, record.is_listed = next_word(), next_word(), next_word() == '1'
  record.expires_at, record.name, record.code = next_word(), next_word(), next_word()
  record.code_key = record.code ~= '' and next_key()
  return record
end

local records, events = {{}}, {{}}
while word < #ARGV do
  local verb = next_word()
  if verb == 'log' then
    events[#events + 1] = {{data = next_word(), purge_at = next_word()}}
  else
    records[#records + 1] = next_record(verb)
  end
end

-- What there will be after the writes looked at so far, where that differs from what there is.
local kept, owners = {{}}, {{}}

local function is_free(code, code_key, id)
  local owner = owners[code]
  if owner == nil then owner = redis.call('GET', code_key) end
  return not owner or owner == id
end

local function comes_in_time(record)
  local was = kept[record.key] or redis.call('HMGET', record.key, 'v', 'c', 'n')
  if record.is_new and was[1] or not record.is_new and was[1] ~= record.before then return false end
  if was[2] and was[2] ~= record.code then owners[was[2]] = false end
  if record.code_key and not is_free(record.code, record.code_key, record.id) then return false end
  if record.code_key then owners[record.code] = record.id end
  record.old_code, record.old_name = was[2], was[3]
  kept[record.key] = {{record.version, record.code_key and record.code, record.name ~= '' and record.name}}
  return true
end

for _, record in ipairs(records) do
  if not comes_in_time(record) then return 0 end
end

-- Nothing may fail from here on.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function drop_later(key, drop_at)
  if drop_at == '' then
    redis.call('PERSIST', key)
  else
    redis.call('PEXPIREAT', key, string.format('%.0f', math.max(tonumber(drop_at), now) + {SLACK}))
  end
end

local function set_due(member, purge_at)
  if purge_at == '' then redis.call('ZREM', due_key, member) else redis.call('ZADD', due_key, purge_at, member) end
end

local function list(index, member, is_listed)
  if is_listed then redis.call('ZADD', index, 0, member) else redis.call('ZREM', index, member) end
end

local function write(record)
  local fields = {{'v', record.version, 'd', record.data}}
  for name, value in pairs({{x = record.expires_at, n = record.name, c = record.code}}) do
    if value ~= '' then fields[#fields + 1] = name fields[#fields + 1] = value end
  end
  redis.call('HSET', record.key, unpack(fields))
  drop_later(record.key, record.drop_at)
  if record.old_code and record.old_code ~= record.code then
    redis.call('DEL', ARGV[1] .. 'code:' .. record.old_code)
    if not record.code_key then redis.call('HDEL', record.key, 'c') end
  end
  if record.code_key then
    redis.call('SET', record.code_key, record.id)
    drop_later(record.code_key, record.drop_at)
  end
  if lists[record.kind] then list(lists[record.kind], record.id, record.is_listed) end
  if record.old_name and record.old_name ~= record.name then redis.call('ZREM', names_key, record.old_name) end
  if record.name ~= '' then list(names_key, record.name, record.is_listed) end
  set_due(record.kind .. ':' .. record.id, record.purge_at)
end

if #events > 0 then
  -- By the clock: numbers that a failover has lost are not given to other events.
  local seq = math.max(tonumber(redis.call('GET', seq_key) or 0), time[1] * 1000000 + time[2])
  for _, event in ipairs(events) do
    seq = seq + 1
    local id = string.format('%.0f', seq)
    redis.call('XADD', events_key, id .. '-0', 'd', event.data)
    if event.purge_at ~= '' then set_due('event:' .. id, event.purge_at) end
  end
  redis.call('SET', seq_key, string.format('%.0f', seq))
end
for _, record in ipairs(records) do write(record) end
redis.call('SET', KEYS[2], '', 'PX', {REMEMBERED})
return 1
""",
)

# KEYS: schema, record
FIND = Script(READING, "return redis.call('HMGET', KEYS[2], 'd', 's')")

# KEYS: schema, code; ARGV: the beginning of a request's key
FIND_CODE = Script(
    READING,
    """
local id = redis.call('GET', KEYS[2])
if not id then return {false, false} end
return redis.call('HMGET', ARGV[1] .. id, 'd', 's')
""",
)

# KEYS: schema, index; ARGV: the command, from, to, how many members to look at, the beginning of a record's key,
# how many records are wanted, and the time after which they expire ('' for those that do not)
LIST = Script(
    READING,
    """
local members = redis.call(ARGV[1], KEYS[2], ARGV[2], ARGV[3], 'LIMIT', 0, ARGV[4])
local found, wanted, last = {}, tonumber(ARGV[6]), 0
while last < #members and #found < wanted do
  last = last + 1
  local id = string.match(members[last], '\\n(.*)$') or members[last]
  local record = redis.call('HMGET', ARGV[5] .. id, 'd', 's', 'x')
  if not record[1] then
    redis.call('ZREM', KEYS[2], members[last])
  elseif ARGV[7] == '' or tonumber(record[3]) > tonumber(ARGV[7]) then
    found[#found + 1] = {record[1], record[2]}
  end
end
local is_end = last == #members and #members < tonumber(ARGV[4])
return {not is_end and members[last], found}
""",
)

# KEYS: schema, events; ARGV: the highest number, how many
LIST_EVENTS = Script(READING, "return redis.call('XREVRANGE', KEYS[2], ARGV[1], '-', 'COUNT', ARGV[2])")

# KEYS: seq, events, place; ARGV: the cursor, how many
FOLLOW = Script(
    CURRENT,
    "return {kept or '0', redis.call('XRANGE', KEYS[2], '(' .. ARGV[1] .. '-0', '+', 'COUNT', ARGV[2]),"
    " redis.call('GET', KEYS[3]) or ''}",
)

# KEYS: schema, done, counter, due; ARGV: amount, now, when a window would end, until when it is kept, the member of due
COUNT = f"""
local amount = tonumber(ARGV[1])
local done = amount ~= 0 and redis.call('GET', KEYS[2])
if done then
  local count, resets_at = string.match(done, '^(%d+) (.*)$')
  return {{tonumber(count), resets_at}}
end
local counted = redis.call('HMGET', KEYS[3], 'n', 'r')
local count, resets_at = tonumber(counted[1] or 0), counted[2]
if resets_at and tonumber(ARGV[2]) < tonumber(resets_at) then
  count = math.max(count + amount, 0)
  if amount ~= 0 then redis.call('HSET', KEYS[3], 'n', string.format('%.0f', count)) end
elseif amount > 0 then
  count, resets_at = amount, ARGV[3]
  redis.call('HSET', KEYS[3], 'n', ARGV[1], 'r', resets_at)
  redis.call('PEXPIRE', KEYS[3], ARGV[4])
  redis.call('ZADD', KEYS[4], resets_at, ARGV[5])
else
  return {{0, ARGV[2]}}
end
if amount ~= 0 then
  redis.call('SET', KEYS[2], string.format('%.0f', count) .. ' ' .. resets_at, 'PX', {REMEMBERED})
end
return {{count, resets_at}}
"""
HIT, LOOK = Script(WRITING, COUNT), Script(READING, COUNT)

# KEYS: schema, then devices; ARGV: when each was seen
TOUCH = Script(
    WRITING,
    """
for i = 1, #ARGV do
  local kept = redis.call('HMGET', KEYS[i + 1], 'v', 's')
  if kept[1] and (not kept[2] or tonumber(kept[2]) < tonumber(ARGV[i])) then
    redis.call('HSET', KEYS[i + 1], 's', ARGV[i])
  end
end
return 1
""",
)

# KEYS: schema, due, events, live, paired, names; ARGV: the beginning of all keys, now, how many
PURGE = Script(
    WRITING,
    """
local lists = {request = KEYS[4], device = KEYS[5]}

local function drop(member, kind, id)
  local key = ARGV[1] .. member
  if kind == 'event' then
    redis.call('XDEL', KEYS[3], id .. '-0')
    return
  end
  if lists[kind] then
    local kept = redis.call('HMGET', key, 'c', 'n')
    if kept[1] then redis.call('DEL', ARGV[1] .. 'code:' .. kept[1]) end
    if kept[2] then redis.call('ZREM', KEYS[6], kept[2]) end
    redis.call('ZREM', lists[kind], id)
  end
  redis.call('DEL', key)
end

local kinds = {}
for i, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', ARGV[2], 'LIMIT', 0, ARGV[3])) do
  local kind, id = string.match(member, '^(%a+):(.*)$')
  drop(member, kind, id)
  redis.call('ZREM', KEYS[2], member)
  kinds[i] = kind
end
return kinds
""",
)
