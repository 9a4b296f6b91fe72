-- Mail goes out under BASE+SIGNATURE-DAY-LOCAL=DOMAIN, or where that would be too long BASE+SIGNATURE-DAY=HASH of the recipient. The
-- signature is over the rest in lower case, so a server on the way may change the case of letters, and nobody else can make one.

local function bad(key, text) error("[plugin.returns] " .. key .. ": " .. text, 0) end

local days = math.floor(config.keep / 86400)
local verp = config.verp and addr.parse(config.verp)
if config.verp and not (verp and re.match("^[A-Za-z0-9_.-]{1,30}$", verp.mailbox)) then
  bad("verp", config.verp .. " is not an address with a local part of up to 30 letters, digits, dots and hyphens")
elseif days < 1 or days > 1000 then
  bad("keep", "write a time from 1d to 1000d")
elseif type(config.secrets) ~= "table" or #config.secrets == 0 then
  bad("secrets", 'write a list of names, as ["returns/key"]')
elseif config.deliver and not addr.parse(config.deliver) then
  bad("deliver", config.deliver .. " is not an address")
end
for _, name in ipairs(config.secrets) do
  if type(name) ~= "string" or not re.match("^returns(/[A-Za-z0-9_][A-Za-z0-9_.-]*)+$", name) then bad("secrets", tostring(name) .. " is not the name of a secret that begins with returns/") end
end
local base = verp and string.lower(verp.mailbox .. "+")

local function canonical(address) return string.lower(address.mailbox) .. "@" .. address.domain end

-- Whether addresses, of which some may be written as @domain, have that one.
local function listing(key)
  local listed = {}
  for _, text in ipairs(type(config[key]) == "table" and config[key] or {}) do
    local address = type(text) == "string" and addr.parse((string.gsub(text, "^@", "*@")))
    if not address then bad(key, tostring(text) .. " is not an address") end
    listed[canonical(address)] = true
  end
  return listed
end
local inline = type(config.senders) == "table"
if type(config.addresses) ~= "table" then bad("addresses", "write a list; it cannot be a lookup") end
local senders, addresses = listing "senders", listing "addresses"
local everybody = inline and next(senders) == nil

local function wanted(sender)
  if everybody then return sender.domain == verp.domain end
  if inline then return senders[canonical(sender)] or senders["*@" .. sender.domain] end
  return lookup("config.senders", canonical(sender)) or lookup("config.senders", "@" .. sender.domain)
end

local digits = "abcdefghijklmnopqrstuvwxyz234567"
local function digit(n) return string.sub(digits, n % 32 + 1, n % 32 + 1) end
local function today() return math.floor(now() / 86400) end

-- Whether a stamp is not too old. It counts 1,024 days and begins anew.
local function fresh(stamp)
  local high = string.find(digits, string.sub(stamp, 1, 1), 1, true)
  local low = high and string.find(digits, string.sub(stamp, 2, 2), 1, true)
  return low and (today() - (high - 1) * 32 - (low - 1)) % 1024 <= days
end

local function sign(name, text)
  local key = secret(name)
  if not key then error("there is no secret " .. name) end
  text = string.lower(hash.hmac("sha256", key, canonical(verp) .. " " .. string.lower(text), "base64"))
  return string.sub(string.gsub(text, "[+/]", { ["+"] = "x", ["/"] = "y" }), 1, 8)
end

local function digest(address) return string.sub(hash.sha256(canonical(address)), 1, 24) end

local function envelope(rcpt)
  local stamp = digit(math.floor(today() / 32)) .. digit(today())
  local rest = stamp .. "-" .. rcpt.mailbox .. "=" .. rcpt.domain
  if #base + 8 + #rest > 64 or not re.match([[^[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*$]], rcpt.mailbox) or string.find(rcpt.domain, "[", 1, true) then
    rest = stamp .. "=" .. digest(rcpt)
  end
  return verp.mailbox .. "+" .. sign(config.secrets[1], rest) .. rest .. "@" .. verp.domain
end

-- What one of ours says: the recipient, or else its hash. nil: it is none of that form; false: it was not made here, or is too old.
local function decode(address)
  if not verp or not address or address.domain ~= verp.domain or string.lower(string.sub(address.mailbox, 1, #base)) ~= base then return end
  local given, rest = string.match(string.sub(address.mailbox, #base + 1), "^(%w%w%w%w%w%w%w%w)(%w%w[-=].+)$")
  if not given then return false end
  for _, name in ipairs(config.secrets) do
    if sign(name, rest) == string.lower(given) then
      if not fresh(string.lower(string.sub(rest, 1, 2))) then return false end
      if string.sub(rest, 3, 3) == "=" then return nil, string.lower(string.sub(rest, 4)) end
      return (string.gsub(string.sub(rest, 4), "=([^=]*)$", "@%1"))
    end
  end
  return false
end

function on.route(r)
  local sender = r.message.sender
  if not verp or sender.text == "" or r.class ~= "relay" or not wanted(sender) then return end
  return route { sender = envelope(r.address) }
end

function on.rcpt(r)
  local recipient, digested = decode(r.address)
  if recipient == false then
    metric.count("refused")
    return reject { enhanced = "5.1.1", reason = "returns", text = "this address was not made here, or is too old" }
  end
  if not recipient and not digested then
    if not addresses[canonical(r.address)] and not (verp and canonical(r.address) == canonical(verp)) then return end
  end
  r.my.ours = true
  r.my.about = recipient
  r.my.digest = digested
  if config.deliver then r:rename(config.deliver) end
  return accept "local"
end

-- The recipient of a report that an address of ours was made for; if there is but one it is that, under whatever name.
local function about(p, recipient, digested)
  for _, one in ipairs(p and p.recipients or {}) do
    for _, text in ipairs { one.original or one.recipient, one.recipient } do
      local address = addr.parse(text)
      if recipient and canonical(address) == canonical(addr.parse(recipient)) then return one, recipient end
      if digested and digest(address) == digested then return one, text end
    end
  end
  if p and #p.recipients == 1 then return p.recipients[1], recipient end
  return {}, recipient
end

function on.data(m)
  local ours, recipient, digested = false, nil, nil
  for _, r in ipairs(m.rcpts) do
    ours = ours or r.my.ours
    recipient, digested = recipient or r.my.about, digested or r.my.digest
  end
  if not ours and (m.sender.text ~= "" or m.session.role == "internal") then return end -- notices of ours are no returns
  local p = report.parse()
  if not p and not ours then return end

  if p and p.kind == "feedback" and not recipient and not digested then -- who complains sends the envelope of our message along
    for _, text in ipairs { p.mail_from or "", p.original.return_path or "" } do
      local address, hashed = decode(addr.parse(text))
      if address or hashed then recipient, digested = address, hashed end
    end
  end
  local verified = recipient ~= nil or digested ~= nil
  local one, who = {}, nil
  if verified then
    one, who = about(p, recipient, digested)
  elseif p and p.recipients[1] then
    one = p.recipients[1]
    who = one.original or one.recipient
  end
  local kind = "unknown"
  if p then
    kind = p.kind == "feedback" and "complaint" or p.kind == "delivery" and (one.action or "unknown") or p.kind
  end

  local my = m.my
  my.kind, my.verified, my.recipient, my.class = kind, verified, who, one.class
  my.status, my.diagnostic = one.status, one.diagnostic
  my.feedback, my.message_id = p and p.feedback, p and p.original.message_id
  metric.count("kind_" .. string.gsub(kind, "-", "_"))
  if one.class then metric.count("class_" .. string.gsub(one.class, "-", "_")) end
  log.info("mail came back", { kind = kind, verified = verified, recipient = who, class = one.class, status = one.status, feedback = p and p.feedback, message_id = p and p.original.message_id })
  if ours and not config.deliver then
    return each(function(r)
      if r.my.ours then return discard("it was read: " .. kind) end
    end)
  end
end
