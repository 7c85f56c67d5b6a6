-- Spendgate under lighttpd 1.4.60 or newer: identity and budget for a proxied backend, as request headers.
-- Needs mod_magnet (Debian: the package lighttpd-modules-lua). For each guarded URL that is proxied:
--
--   server.modules += ( "mod_magnet", "mod_proxy" )          # behind mod_fastcgi, see 05-spendgate.conf
--   $HTTP["url"] =~ "^/api/proxied/" {
--       magnet.attract-raw-url-to = ( "/usr/share/spendgate/lighttpd/spendgate-headers.lua" )
--       proxy.server = ( "" => (( "host" => "127.0.0.1", "port" => 8080 )) )
--   }
--
-- A backend that is also reached through an unguarded URL gets the client's own headers there: guard every way to it.
-- lighttpd runs this twice: before the authorizer, when nobody is known, and again after its allow.

local headers = {
    ["X-Spendgate-Subject"]       = "SPENDGATE_SUBJECT",
    ["X-Spendgate-Key-Id"]        = "SPENDGATE_KEY_ID",
    ["X-Spendgate-Org"]           = "SPENDGATE_ORG",
    ["X-Spendgate-Plan"]          = "SPENDGATE_PLAN",
    ["X-Spendgate-Scopes"]        = "SPENDGATE_SCOPES",
    ["X-Spendgate-Hold-Id"]       = "SPENDGATE_HOLD_ID",
    ["X-Spendgate-Remaining-Usd"] = "SPENDGATE_REMAINING_USD",
    ["X-Spendgate-Request-Id"]    = "SPENDGATE_REQUEST_ID",
}
local request = lighty.r.req_header
local variables = lighty.r.req_env

-- Whatever the client calls so, also with "_" for "-" (many backends take them for the same).
local forged = {}
for name in pairs(request) do
    if string.find(string.gsub(string.lower(name), "_", "-"), "^x%-spendgate%-") then
        forged[#forged + 1] = name
    end
end
for _, name in ipairs(forged) do
    request[name] = nil
end
for name, variable in pairs(headers) do
    request[name] = variables[variable]
end
