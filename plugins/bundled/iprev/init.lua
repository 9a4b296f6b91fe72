-- The names of the client's address are looked up, and then the addresses of those names, beside the dialogue.

local verdicts = { none = true, hold = true, defer = true, reject = true }
local of = {}
for _, result in ipairs { "fail", "permerror", "temperror" } do
  of[result] = config[result]
  if not verdicts[of[result]] then
    error("[plugin.iprev] " .. result .. ": " .. of[result] .. ' is not one of "none", "defer", "reject" and "hold"', 0)
  end
end

local inline = type(config.networks) == "table"
if inline then
  local ok, why = pcall(addr.within, "::", config.networks)
  if not ok then
    error("[plugin.iprev] networks: " .. string.gsub(why, "^.-addr%.within: ", ""), 0)
  end
end

local loopback = { "127.0.0.0/8", "::1" }
local most = 10 -- names of an address that are looked at

local function stranger(ip)
  if not ip or addr.within(ip, loopback) then return false end
  if inline then return not addr.within(ip, config.networks) end
  return not lookup("config.networks", ip)
end

-- RFC 8601 section 3, with the results of its section 2.7.3.
local function check(ip)
  local reverse = dns.get { { addr.reverse(ip), "PTR" } }[1]
  if reverse.error then return "temperror" end
  if #reverse == 0 then return "permerror" end
  local questions, kind = {}, string.find(ip, ":", 1, true) and "AAAA" or "A"
  for i = 1, math.min(#reverse, most) do
    table.insert(questions, { reverse[i], kind })
  end
  local result = "fail"
  for i, addresses in ipairs(dns.get(questions)) do
    if addresses.error then
      result = "temperror"
    else
      for _, address in ipairs(addresses) do
        if address == ip then return "pass", questions[i][1] end
      end
    end
  end
  return result
end

function on.connect(s)
  if not stranger(s.ip) then return end
  s.my.result, s.my.name = check(s.ip)
end

local says = {
  fail = "the name of your address %s does not lead back to it",
  permerror = "your address %s has no name in the DNS",
  temperror = "the DNS cannot tell now how your address %s is called",
}

function on.rcpt(r)
  if not r.class then return end -- nobody wants it
  local s = r.message.session
  local result = s.my.result
  local verdict = of[result or ""]
  if verdict ~= "reject" and verdict ~= "defer" then return end
  local answer = { reason = "iprev " .. result, text = string.format(says[result], s.ip) }
  if verdict == "reject" then
    answer.enhanced = "5.7.25" -- RFC 7372 section 3.3
    return reject(answer)
  end
  answer.enhanced = "4.7.25"
  return defer(answer)
end

function on.data(m)
  local result = m.session.my.result
  if of[result or ""] == "hold" then return hold("iprev: " .. result) end
end
