#!/bin/sh
# SPDX-License-Identifier: MIT
# The clients as packages: PHPUnit for the PHP one, `perl Makefile.PL && make test` for the Perl one, with what each
# ecosystem expects to find. Ends with "N passed, N failed". Works in copies; the checkout stays as it is.
set -u
top=$(cd "$(dirname "$0")/.." && pwd)
cd "$top" || exit 99
. tests/verdict.sh

work=$(mktemp -d) || exit 99
trap 'rm -rf "$work"' EXIT
cp -R clients/php clients/perl "$work" || exit 99
export SPENDGATE_VECTORS="$top/tests/vectors"

# PHP: the file names what PSR-4 wants, the suite is clean under every notice there is.
# shellcheck disable=SC2016
verdict "composer.json is JSON and names the namespace" "$(php -r '
    $composer = json_decode((string) file_get_contents($argv[1]), true, 16, JSON_THROW_ON_ERROR);
    $composer["autoload"]["psr-4"] === ["Spendgate\\" => "src/"] or print "autoload";
' "$work/php/composer.json" 2>&1)"
# shellcheck disable=SC2016
verdict "each class lies where PSR-4 looks for it" "$(php -r '
    require $argv[1] . "/autoload.php";
    foreach (glob($argv[1] . "/src/*.php") as $file) {
        $class = "Spendgate\\" . basename($file, ".php");
        class_exists($class) or interface_exists($class) or print "$class\n";
    }
' "$work/php" 2>&1)"
# shellcheck disable=SC2016
printf '%s\n' '<?php' 'function f(int|string $a,) { return $a?->b(c: 1); }' 'str_contains("a", "b"); function_exists("fsync") && fsync($f);' >"$work/new.php"
verdict "what is newer than PHP 7.4 is found" \
    "$(php tests/php_74.php "$work/new.php" | sed "s|.*:\([0-9]*: .*\) is newer than PHP 7.4|\1|" | sort | tr '\n' ',' |
        grep -vxF '2: ?->,2: a comma behind the last parameter,2: a named argument,2: a union type,3: str_contains(),')"
verdict "the client and the examples need nothing newer than PHP 7.4" "$(find "$work/php" examples -name '*.php' -exec php tests/php_74.php {} + 2>&1)"
(cd "$work/php" && phpunit --log-junit "$work/phpunit.xml") >"$work/phpunit.log" 2>&1
phpunit_status=$?
count=$(sed -n 's/.*<testsuite name="spendgate" tests="\([0-9]*\)".*errors="\([0-9]*\)".*failures="\([0-9]*\)".*skipped="\([0-9]*\)".*/\1 \2 \3 \4/p' \
    "$work/phpunit.xml" 2>/dev/null | head -n 1)
# shellcheck disable=SC2086
set -- ${count:-0 0 0 0}
bad=$(($2 + $3 + $4))
passed=$((passed + $1 - bad)) failed=$((failed + bad))
if [ "$phpunit_status" != 0 ] || [ "$1" = 0 ] || [ "$bad" != 0 ]; then
    [ "$bad" != 0 ] || failed=$((failed + 1))
    cat "$work/phpunit.log"
fi

# Perl: the manifest is what is there, and the tests pass from where make put the module.
verdict "MANIFEST is complete" "$(cd "$work/perl" && perl -MExtUtils::Manifest=fullcheck -e '
    $ExtUtils::Manifest::Quiet = 1;
    my ($missing, $extra) = fullcheck();
    print map { "missing: $_\n" } @$missing;
    print map { "not in it: $_\n" } @$extra;' 2>&1)"
verdict "the manual page is POD" "$(podchecker "$work/perl/lib/Spendgate/Tracker.pm" 2>&1 | grep -v ' pod syntax OK\.$')"
verdict "it has one version" "$(cd "$work/perl" &&
    grep -q "^$(perl -Ilib -MSpendgate::Tracker -e 'print $Spendgate::Tracker::VERSION')\$" Changes || echo "not in Changes")"
(cd "$work/perl" && perl Makefile.PL && make && prove -v -b t) >"$work/perl.log" 2>&1
perl_status=$?
good=$(grep -c '^ok ' "$work/perl.log")
bad=$(grep -c '^not ok ' "$work/perl.log")
passed=$((passed + good)) failed=$((failed + bad))
if [ "$perl_status" != 0 ] || [ "$good" = 0 ]; then
    [ "$bad" != 0 ] || failed=$((failed + 1))
    grep -v '^ok ' "$work/perl.log"
fi

conclude clients
