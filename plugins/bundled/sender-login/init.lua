-- Who has logged in may send under the addresses that belong to him: those that `senders` gives to him, and his own name if that is
-- an address.

if #config.delimiter > 1 or string.find(config.delimiter, "[%w@%s%c]") then
  error('[plugin.sender-login] delimiter: write one character, as "+", or ""', 0)
end
if type(config.senders) == "table" then
  for address in pairs(config.senders) do
    if address ~= string.lower(address) then
      error("[plugin.sender-login] senders: " .. address .. ": write addresses in lower case; they are found in any", 0)
    elseif not addr.parse((string.gsub(address, "^@", "x@"))) then
      error("[plugin.sender-login] senders: " .. address .. ' is neither an address nor "@" and a domain', 0)
    end
  end
end

-- Whether a name is among those of an entry: text, or a list of texts.
local function among(names, user)
  if type(names) == "table" then names = table.concat(names, " ") end
  if type(names) ~= "string" then return false end
  for name in string.gmatch(string.lower(names), "[^%s,]+") do
    if name == user then return true end
  end
  return false
end

-- The address as it is compared, and the same without an extension, if it has one.
local function forms(address)
  local mailbox = string.lower(address.mailbox)
  local domain = "@" .. address.domain
  local at = config.delimiter ~= "" and string.find(mailbox, config.delimiter, 2, true)
  return mailbox .. domain, at and string.sub(mailbox, 1, at - 1) .. domain or nil
end

-- Whom the address belongs to by an entry of its own.
local function owners(address)
  local whole, short = forms(address)
  return lookup("config.senders", whole) or short and lookup("config.senders", short) or nil
end

local function belongs(address, user)
  local names = owners(address)
  if names then return among(names, user) end
  local mine = config.own and addr.parse(user)
  if mine then
    local name = forms(mine)
    local whole, short = forms(address)
    if name == whole or name == short then return true end
  end
  names = lookup("config.senders", "@" .. address.domain)
  return names and among(names, user) or false
end

function on.mail(m)
  local user = m.session.user
  if m.sender.text == "" then return end -- mail programs send receipts so, RFC 8098 section 3
  if user then
    if belongs(m.sender, string.lower(user)) then return end
    return reject { code = 553, enhanced = "5.7.1", reason = "sender", text = "the sender address does not belong to the user who has logged in" }
  elseif config.strangers and m.session.role ~= "internal" and (owners(m.sender) or lookup("config.senders", "@" .. m.sender.domain)) then
    return reject { code = 553, enhanced = "5.7.1", reason = "sender", text = "log in to send under this address" }
  end
end

function on.data(m)
  local user = m.session.user
  if not config.from or not user then return end
  user = string.lower(user)
  for _, field in ipairs(m:headers("From")) do
    local list = addr.list(field.value)
    if not list or #list == 0 then
      return reject { enhanced = "5.7.1", reason = "from", text = "the From field is not a list of addresses" }
    end
    for _, address in ipairs(list) do
      if not belongs(address, user) then
        return reject { enhanced = "5.7.1", reason = "from", text = "an address in the From field does not belong to the user who has logged in" }
      end
    end
  end
end
