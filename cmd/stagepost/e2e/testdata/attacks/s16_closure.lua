-- want: attack.lua:8: saved would be kept between calls
plugin { id = "attack",
  hook = { rcpt = { when = { listener = { "attack" } }, timeout = "300ms" } } }

local function keeper()
  local saved
  return function(v)
    saved = saved or v
    return saved
  end
end

local keep = keeper()

function on.rcpt(r)
  return keep(reject "carried")
end
