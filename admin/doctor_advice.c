/* SPDX-License-Identifier: MIT */
/* spendgate doctor: which directive of which web server is to be changed. Source: web-servers
 * document, sections 2 to 6. */
#include "admin/doctor_gate.h"

#include <string.h>

#include "common/banned.h"

/* A page beside the open one that does not exist: was the gate asked for it? */
static bool
is_guarded_beside(const struct gate *gate)
{
    return reading_is_denial(&gate->missing) || reading_is_denial(&gate->above);
}

/* What a lighttpd does with a missing page tells its two traps apart: with check-local files are
 * looked for before the authorizer is asked. */
static const char *
advice_open_lighttpd(const struct gate *gate)
{
    if (is_guarded_beside(gate))
        return "load mod_fastcgi before mod_proxy (and mod_cgi) in server.modules: the first "
               "module "
               "that takes the request wins. check-local is right. Or a condition has "
               "`fastcgi.server =', which takes the authorizer's place: += there. Or "
               "url.rewrite-once leads to another path: guard that one";
    if (gate->missing.kind == READING_REFUSED || gate->above.kind == READING_REFUSED)
        return "\"check-local\" => \"disable\" in the authorizer's block of fastcgi.server, and "
               "mod_fastcgi before mod_proxy and mod_cgi in server.modules (conf/lighttpd); and "
               "what "
               "answers there must be spendgate-authorizer: a program that prints nothing allows. "
               "Or a condition has `fastcgi.server =', which takes the authorizer's place: += "
               "there. Or url.rewrite-once leads to another path: guard that one";
    return "fastcgi.server needs a block for this path with \"mode\" => \"authorizer\" and "
           "\"check-local\" => \"disable\", read before any other block that fits, and mod_fastcgi "
           "has to come before mod_proxy in server.modules (conf/lighttpd). In a condition it is "
           "fastcgi.server +=, since `=' takes the authorizer's place. Where url.rewrite-once "
           "leads to another path, guard that one";
}

static const char *
advice_open_apache(const struct gate *gate)
{
    if (is_guarded_beside(gate))
        return "what is beside it is guarded: a <Location>, <Files> or .htaccess that is read "
               "later "
               "says `Require all granted' or `Satisfy Any' for this address; take it out, and "
               "give "
               "the <Location> of the gate `Satisfy All'. Or a RewriteRule of the server leads to "
               "another path ([PT]): guard that one";
    return "in the <Location> of this address: mod_authnz_fcgi needs AuthnzFcgiCheckAuthnProvider "
           "and `Require valid-user' (with `Require all granted' it is never called); mod_fcgid "
           "needs FcgidAccessChecker (FcgidAuthorizer and FcgidAuthenticator are never called for "
           "a "
           "bearer token); both need `Satisfy All', because `Satisfy Any' opens them; a gate in "
           ".htaccess needs `AllowOverride AuthConfig FileInfo', else the file is ignored; where "
           "a RewriteRule of the server leads to another path ([PT]), guard that one. "
           "--server-config FILE points at the line";
}

static const char *
advice_open_nginx(const struct gate *gate)
{
    if (is_guarded_beside(gate))
        return "what is beside it is guarded: a location that fits better says `auth_request off' "
               "or "
               "has none, or a `return' or `rewrite' answers before auth_request (put it into a "
               "location of its own behind try_files), or a `rewrite' leads to another location "
               "(guard that one)";
    return "include spendgate-guard.conf (auth_request, `satisfy all') in the location that "
           "answers "
           "this address: a `location ~' beside a guarded one takes its pages (use ^~ and put it "
           "inside), a `return' or `rewrite' in it is answered before auth_request, and where a "
           "`rewrite' leads to another location that one counts. "
           "--server-config "
           "FILE points at the line";
}

const char *
advice_open(const struct gate *gate)
{
    switch (gate->server) {
    case SERVER_LIGHTTPD:
        return advice_open_lighttpd(gate);
    case SERVER_APACHE:
        return advice_open_apache(gate);
    case SERVER_NGINX:
        return advice_open_nginx(gate);
    default:
        return "use the file for your web server in conf/ (Apache: the <Location>; lighttpd: the "
               "authorizer's block of fastcgi.server, check-local and the order of server.modules; "
               "nginx: auth_request in the location that answers)";
    }
}

const char *
advice_below(const struct gate *gate)
{
    switch (gate->server) {
    case SERVER_LIGHTTPD:
        return "\"check-local\" => \"disable\" in the authorizer's block of fastcgi.server: with "
               "it "
               "enabled files are looked for first, and CGI and proxied pages pass unasked";
    case SERVER_NGINX:
        return "a `location ~' beside the guarded location takes these: give that one ^~, and put "
               "the other inside it; an inner location must not say `auth_request off'";
    case SERVER_APACHE:
        return "guard them by <Location>: a <Files>, <LocationMatch> or .htaccess with other "
               "`Require' or `Satisfy' lines applies to these";
    default:
        return "let the gate's rule apply to everything below this address";
    }
}

const char *
advice_covered(const struct gate *gate)
{
    switch (gate->server) {
    case SERVER_APACHE:
        /* a page that does not exist is looked for only when the denial is not obeyed */
        if (gate->missing.status == 404)
            return "FcgidAccessCheckerAuthoritative On: with Off the page is served under the "
                   "denial's status, and with 200 when the authorizer does not answer";
        return "an ErrorDocument 401 of yours answers: it must be a plain file and no script, "
               "since "
               "it runs for callers who were refused "
               "(ErrorDocument 401 \"/.spendgate/%{resp:X-Spendgate-Status}.asis\")";
    case SERVER_NGINX:
        return "error_page 401 403 500 = @spendgate_deny (spendgate-guard.conf): another "
               "error_page "
               "answers, and must be no page that works for callers who were refused";
    default:
        return "an error page of your own answers: it must be no page that works for callers who "
               "were refused (lighttpd: server.error-handler)";
    }
}

const char *
advice_flattened(const struct gate *gate)
{
    switch (gate->server) {
    case SERVER_APACHE:
        if (strcmp(gate->base.probe.apache, "AUTHENTICATOR") == 0)
            return "AuthnzFcgiCheckAuthnProvider spendgate Authoritative On ...: with Off a denial "
                   "becomes a 500";
        return "ErrorDocument 401 \"/.spendgate/%{resp:X-Spendgate-Status}.asis\", with its files "
               "outside of what is guarded and mod_include for their bodies "
               "(conf/apache/spendgate-fcgid.conf), or mod_authnz_fcgi, which needs no such thing";
    case SERVER_NGINX:
        return "error_page 401 403 500 = @spendgate_deny, and that location "
               "(conf/nginx/spendgate-guard.conf, spendgate-server.conf)";
    default:
        return "see the file for your web server in conf/";
    }
}

const char *
advice_authorization(const struct gate *gate)
{
    switch (gate->server) {
    case SERVER_APACHE:
        return "CGIPassAuth On in the <Location> of the gate (a RewriteRule that sets "
               "HTTP_AUTHORIZATION in .htaccess is too late)";
    case SERVER_NGINX:
        return "fastcgi_pass_request_headers on in the location that auth_request names";
    default:
        return "let the web server hand the Authorization header on";
    }
}

const char *
advice_methods(const struct gate *gate)
{
    switch (gate->server) {
    case SERVER_APACHE:
        return "no <Limit> or <LimitExcept> around the gate, and no `Require method' beside its "
               "`Require valid-user'";
    case SERVER_NGINX:
        return "no limit_except and no `if ($request_method ...) { return ...; }' in the guarded "
               "location";
    case SERVER_LIGHTTPD:
        return "no $HTTP[\"request-method\"] around the authorizer's block of fastcgi.server";
    default:
        return "let the gate's rule apply to every method";
    }
}

const char *
advice_slash(const struct gate *gate)
{
    switch (gate->server) {
    case SERVER_APACHE:
        return "guard the prefix without its slash: Define SPENDGATE_GUARDED /api, or "
               "<Location \"/api\">";
    case SERVER_LIGHTTPD:
        return "guard the prefix without its slash: var.spendgate_guarded = \"/api\"";
    case SERVER_NGINX:
        return "guard the prefix without its slash: location ^~ /api";
    default:
        return "guard the prefix without its slash";
    }
}

const char *
advice_paths(const struct gate *gate)
{
    switch (gate->server) {
    case SERVER_APACHE:
        return "guard by <Location \"/api/\">, which sees the decoded path, not by a rewrite "
               "condition on THE_REQUEST; and look for an Alias that leads to the same files";
    case SERVER_LIGHTTPD:
        return "server.http-parseopts as Debian has them (url-normalize-..., "
               "url-path-dotseg-remove), "
               "and no server.force-lowercase-filenames";
    case SERVER_NGINX:
        return "guard by a prefix location (^~ /api/), not by a regular expression or by an `if' "
               "on "
               "$request_uri";
    default:
        return "guard by the decoded and normalised path";
    }
}

const char *
advice_away(const struct gate *gate)
{
    if (gate->server == SERVER_APACHE)
        return "start spendgate-authorizer, and look at its address and at Apache's error log: "
               "mod_authnz_fcgi also needs UserExpr \"%{reqenv:SPENDGATE_SUBJECT}\" and "
               "`Authoritative On', and for an .htaccess `AllowOverride AuthConfig FileInfo'";
    return "start spendgate-authorizer; its address, the rights of its socket and the web server's "
           "error log are the places to look";
}
