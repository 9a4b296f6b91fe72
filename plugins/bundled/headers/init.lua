-- Looks at a header first, and changes it only when the message is not refused.

local function bad(key, name, why)
  error("[plugin.headers] " .. key .. ": " .. tostring(name) .. ": " .. why, 0)
end

local function check(key, name)
  if type(name) ~= "string" or not re.match("^[!-9;-~]+$", name) then
    bad(key, name, "is not the name of a header field")
  end
end

-- sorted gives the names in a table, so that every instance goes through them in the same order.
local function sorted(key, map)
  local names = {}
  for name in pairs(map) do
    check(key, name)
    table.insert(names, name)
  end
  table.sort(names)
  return names
end

for _, name in ipairs(config.remove) do check("remove", name) end
for _, name in ipairs(config.require) do check("require", name) end

local added = sorted("add", config.add)
for _, name in ipairs(added) do
  local text = config.add[name]
  if type(text) ~= "string" or string.find(text, "%c") then bad("add", name, "its text is not one line in quotes") end
  for word in string.gmatch(text, "%S+") do -- between them lines are folded
    if #name + #word > 990 then bad("add", name, "a word of " .. #word .. " bytes is too long for a line") end
  end
end

local refused = sorted("refuse", config.refuse)
for _, name in ipairs(refused) do
  local ok, why = pcall(re.match, config.refuse[name], "")
  if not ok then bad("refuse", name, tostring(why)) end
end

local longest = 4096 -- bytes of a field that an expression looks at

function on.data(m)
  for _, name in ipairs(config.require) do
    if not m:header(name) then
      return reject { enhanced = "5.6.0", reason = "no " .. name, text = "the message has no field " .. name }
    end
  end
  for _, name in ipairs(refused) do
    for _, field in ipairs(m:headers(name)) do
      if re.match(config.refuse[name], string.sub(field.value, 1, longest)) then
        return reject { reason = name .. " matches", text = "the field " .. name .. " is not accepted here" }
      end
    end
  end
  for _, name in ipairs(config.remove) do
    m:remove_header(name)
  end
  for _, name in ipairs(added) do
    m:add_header(name, config.add[name])
  end
end
