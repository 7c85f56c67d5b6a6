<?php
// SPDX-License-Identifier: MIT
// Whether PHP files need nothing newer than PHP 7.4, which `php -l` of a newer PHP cannot tell: what the language gained in 8.x, and
// functions that came with it, unless the file asks function_exists() first. With Debian's php-parser.
//
//   php tests/php_74.php FILE ...     prints "FILE:LINE: what" and exits 1

declare(strict_types=1);

require '/usr/share/php/PhpParser/autoload.php';

use PhpParser\Node;

final class NewerThan74 extends PhpParser\NodeVisitorAbstract
{
    private const NODES = [
        Node\Expr\Match_::class => 'match',
        Node\Expr\NullsafeMethodCall::class => '?->',
        Node\Expr\NullsafePropertyFetch::class => '?->',
        Node\Expr\Throw_::class => 'throw as an expression',
        Node\AttributeGroup::class => 'an attribute',
        Node\UnionType::class => 'a union type',
        Node\IntersectionType::class => 'an intersection type',
        Node\Stmt\Enum_::class => 'an enum',
        Node\VariadicPlaceholder::class => 'a first-class callable',
    ];
    private const TYPES = ['mixed', 'never', 'null', 'false', 'true', 'static'];
    private const FUNCTIONS = [
        'array_all', 'array_any', 'array_find', 'array_find_key', 'array_is_list', 'curl_upkeep', 'enum_exists', 'fdatasync', 'fdiv',
        'fsync', 'get_debug_type', 'get_mangled_object_vars', 'get_resource_id', 'http_get_last_response_headers', 'ini_parse_quantity',
        'json_validate', 'mb_lcfirst', 'mb_str_pad', 'mb_trim', 'mb_ucfirst', 'memory_reset_peak_usage', 'preg_last_error_msg',
        'request_parse_body', 'str_contains', 'str_ends_with', 'str_starts_with', 'stream_context_set_options',
    ];

    /** @var string[] */
    public $found = [];
    /** @var array<string,bool> functions that the file asks for first */
    public $asked = [];

    private function note(Node $node, string $what): void
    {
        $this->found[] = $node->getStartLine() . ': ' . $what;
    }

    private function type(?Node $type): void
    {
        $type = $type instanceof Node\NullableType ? $type->type : $type;
        $name = $type instanceof Node\Identifier || $type instanceof Node\Name ? $type->toLowerString() : '';
        if (in_array($name, self::TYPES, true)) {
            $this->note($type, "the type $name");
        }
    }

    public function enterNode(Node $node)
    {
        if (isset(self::NODES[get_class($node)])) {
            $this->note($node, self::NODES[get_class($node)]);
        }
        if ($node instanceof Node\FunctionLike) {
            $this->type($node->getReturnType());
        } elseif ($node instanceof Node\Param) {
            $this->type($node->type);
            if ($node->flags !== 0) {
                $this->note($node, 'a promoted property');
            }
            if ($node->default instanceof Node\Expr\New_) {
                $this->note($node, 'new as a default');
            }
        } elseif ($node instanceof Node\Stmt\Property) {
            $this->type($node->type);
            if ($node->isReadonly()) {
                $this->note($node, 'readonly');
            }
        } elseif ($node instanceof Node\Stmt\Class_ && $node->isReadonly()) {
            $this->note($node, 'readonly');
        } elseif ($node instanceof Node\Stmt\ClassConst && $node->isFinal()) {
            $this->note($node, 'a final constant');
        } elseif ($node instanceof Node\Arg && $node->name !== null) {
            $this->note($node, 'a named argument');
        } elseif ($node instanceof Node\Stmt\Catch_ && $node->var === null) {
            $this->note($node, 'catch without a variable');
        } elseif ($node instanceof Node\Expr\ClassConstFetch && $node->class instanceof Node\Expr && (string) $node->name === 'class') {
            $this->note($node, '$object::class');
        } elseif ($node instanceof Node\Expr\FuncCall && $node->name instanceof Node\Name) {
            $this->call($node, $node->name->toLowerString());
        }
        return null;
    }

    private function call(Node\Expr\FuncCall $call, string $name): void
    {
        $first = $call->args[0]->value ?? null;
        if ($name === 'function_exists' && $first instanceof Node\Scalar\String_) {
            $this->asked[$first->value] = true;
        } elseif (in_array($name, self::FUNCTIONS, true)) {
            $this->note($call, "$name()");
        }
    }
}

/** A comma behind the last parameter, or the last captured variable: 8.0, and no longer in the tree. */
function trailing_commas(string $source): array
{
    $found = [];
    $tokens = array_values(array_filter(token_get_all($source), static function ($token): bool {
        return !is_array($token) || !in_array($token[0], [T_WHITESPACE, T_COMMENT, T_DOC_COMMENT], true);
    }));
    $depth = 0;
    $lists = [];
    $opens = false;
    $line = 0;
    foreach ($tokens as $i => $token) {
        $line = is_array($token) ? $token[2] : $line;
        if (is_array($token) && in_array($token[0], [T_FUNCTION, T_FN], true)) {
            $opens = true;
        } elseif (is_array($token) && $token[0] === T_USE && ($tokens[$i + 1] ?? '') === '(') {
            $opens = true;
        } elseif ($token === '(') {
            $depth++;
            if ($opens) {
                $lists[$depth] = true;
                $opens = false;
            }
        } elseif ($token === ')') {
            if (isset($lists[$depth]) && $tokens[$i - 1] === ',') {
                $found[] = "$line: a comma behind the last parameter";
            }
            unset($lists[$depth]);
            $depth--;
        }
    }
    return $found;
}

$status = 0;
$parser = (new PhpParser\ParserFactory())->create(PhpParser\ParserFactory::PREFER_PHP7);
foreach (array_slice($argv, 1) as $file) {
    $visitor = new NewerThan74();
    $traverser = new PhpParser\NodeTraverser();
    $traverser->addVisitor($visitor);
    $source = (string) file_get_contents($file);
    $traverser->traverse($parser->parse($source) ?? []);
    $found = array_filter($visitor->found, static function (string $what) use ($visitor): bool {
        return preg_match('/ (\w+)\(\)$/', $what, $part) !== 1 || !isset($visitor->asked[$part[1]]);
    });
    foreach (array_merge($found, trailing_commas($source)) as $what) {
        echo "$file:$what is newer than PHP 7.4\n";
        $status = 1;
    }
}
exit($status);
