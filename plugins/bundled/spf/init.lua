-- Both identities are checked beside the dialogue. What they came to is answered at the recipients, or held at the end.

local results = { "fail", "softfail", "neutral", "none", "permerror", "temperror" }
local verdicts = { none = 0, hold = 1, defer = 2, reject = 3 } -- the more severe one counts
local of_mail, of_helo = {}, {}
local function wanted(key)
  if verdicts[config[key]] then return config[key] end
  error("[plugin.spf] " .. key .. ": " .. config[key] .. ' is not one of "none", "defer", "reject" and "hold"', 0)
end
for _, result in ipairs(results) do
  of_mail[result], of_helo[result] = wanted(result), wanted("helo_" .. result)
end

local inline = type(config.networks) == "table"
if inline then
  local ok, why = pcall(addr.within, "::", config.networks)
  if not ok then
    error("[plugin.spf] networks: " .. string.gsub(why, "^.-addr%.within: ", ""), 0)
  end
end

local loopback = { "127.0.0.0/8", "::1" }

-- Whether the client is a stranger, of whom SPF can tell something.
local function stranger(s)
  if not s.ip or addr.within(s.ip, loopback) then return false end
  if inline then return not addr.within(s.ip, config.networks) end
  return not lookup("config.networks", s.ip)
end

function on.helo(s)
  if not stranger(s) then return end
  local r = spf.check { ip = s.ip, helo = s.helo }
  s.my.helo, s.my.helo_explanation, s.my.helo_received = r.result, r.explanation, r.received
end

function on.mail(m)
  local s = m.session
  if not stranger(s) then return end
  local r = spf.check { ip = s.ip, helo = s.helo, sender = m.sender.text }
  m.my.mail, m.my.domain, m.my.explanation, m.my.received = r.result, r.domain, r.explanation, r.received
end

-- What is to become of the message, by which identity, and that one's result and explanation.
local function judge(m)
  local mail, helo = m.my.mail, m.session.my.helo
  local by_mail = of_mail[mail or ""] or "none"
  local by_helo = m.sender.text ~= "" and of_helo[helo or ""] or "none" -- of a null sender both are the same
  if verdicts[by_helo] > verdicts[by_mail] then
    return by_helo, "the HELO name", helo, m.session.helo, m.session.my.helo_explanation
  end
  return by_mail, "the sender's domain", mail, m.my.domain, m.my.explanation
end

local says = {
  fail = "%s does not let %s send for it",
  softfail = "%s probably does not let %s send for it",
  neutral = "%s does not say whether %s may send for it",
  none = "%s has no SPF record that could name %s",
  permerror = "the SPF record of %s cannot be used, for %s or anybody",
  temperror = "the DNS cannot tell now whether %s lets %s send for it",
}

local function text(who, result, domain, explanation, ip)
  if not domain or #domain > 100 then domain = who end
  local reply = "SPF: " .. string.format(says[result], domain, ip)
  if explanation and #reply + #explanation < 370 then
    reply = reply .. "; it explains: " .. explanation
  end
  return reply
end

function on.rcpt(r)
  if not r.class then return end -- nobody wants it
  local m = r.message
  local verdict, who, result, domain, explanation = judge(m)
  if verdict ~= "reject" and verdict ~= "defer" then return end
  local broken = result == "permerror" or result == "temperror"
  local answer = { reason = "spf " .. result, text = text(who, result, domain, explanation, m.session.ip) }
  if verdict == "reject" then
    answer.enhanced = broken and "5.7.24" or "5.7.23" -- RFC 7372 section 3.2
    return reject(answer)
  end
  answer.enhanced = broken and "4.7.24" or "4.7.23"
  return defer(answer)
end

function on.data(m)
  local verdict, who, result = judge(m)
  if config.received then
    local s = m.session
    if m.my.received then m:add_header("Received-SPF", m.my.received) end
    if m.sender.text ~= "" and s.my.helo_received and s.my.helo ~= "none" then
      m:add_header("Received-SPF", s.my.helo_received)
    end
  end
  if verdict == "hold" then return hold("SPF of " .. who .. ": " .. result) end
end
