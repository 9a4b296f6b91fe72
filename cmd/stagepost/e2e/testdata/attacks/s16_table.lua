-- want: this table cannot be changed
plugin { id = "attack",
  hook = { rcpt = { when = { listener = { "attack" } }, timeout = "300ms" } } }

local saved = {}

local function keep(t, v)
  t[1] = v
end

function on.rcpt(r)
  if saved[1] then return saved[1] end
  keep(saved, reject "carried")
end
